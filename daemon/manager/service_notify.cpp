#include "daemon/manager/service_notify.h"

#include <fmt/format.h>
#include <systemd/sd-daemon.h>

#include "common/log.h"
#include "common/scoreboard.h"

namespace green::manager {
namespace {

constexpr std::uint64_t status_interval_usec = 200'000;

/// A status is one line: a traceback's newlines would start new fields.
std::string one_line(std::string_view text) {
  std::string line(text.substr(0, text.find('\n')));
  return line;
}

}  // namespace

std::string_view gist_of(std::string_view error) {
  constexpr std::string_view spaces = " \t\r\n";
  const auto line_end = error.find('\n');
  if (error.find("Traceback (most recent call last)") == std::string_view::npos)
    return error.substr(0, line_end);
  const auto end = error.find_last_not_of(spaces);
  error = error.substr(0, end == std::string_view::npos ? 0 : end + 1);
  const auto last_line = error.find_last_of('\n');
  if (last_line != std::string_view::npos) error.remove_prefix(last_line + 1);
  return error;
}

ServiceNotify::ServiceNotify(EventLoop& loop) : loop_(loop) {
  std::uint64_t usec = 0;
  const int enabled = ::sd_watchdog_enabled(0, &usec);
  if (enabled < 0) {
    log_warning("{}", Error::from_errno("WATCHDOG_USEC", -enabled).message());
  } else if (enabled > 0) {
    watchdog_usec_ = usec;
  }
}

void ServiceNotify::send(const std::string& state) {
  const int sent = ::sd_notify(0, state.c_str());
  if (sent < 0) log_error("{}", Error::from_errno("sd_notify", -sent).message());
}

void ServiceNotify::ready(std::string_view status) {
  status_ = sent_status_ = one_line(status);
  status_sent_usec_ = monotonic_usec();
  send(fmt::format("READY=1\nSTATUS={}", status_));
}

void ServiceNotify::reloading(std::string_view status) {
  status_ = sent_status_ = one_line(status);
  status_sent_usec_ = monotonic_usec();
  send(fmt::format("RELOADING=1\nMONOTONIC_USEC={}\nSTATUS={}", status_sent_usec_, status_));
}

void ServiceNotify::stopping(std::string_view status) {
  status_ = sent_status_ = one_line(status);
  status_sent_usec_ = monotonic_usec();
  send(fmt::format("STOPPING=1\nSTATUS={}", status_));
}

void ServiceNotify::status(std::string_view text) {
  status_ = one_line(text);
  if (status_ == sent_status_) return;
  const std::uint64_t now = monotonic_usec();
  const std::uint64_t allowed = status_sent_usec_ + status_interval_usec;
  if (now >= allowed) {
    send_status();
  } else if (status_timer_) {
    status_timer_.set_time(allowed);
  } else if (auto timer = loop_.add_timer(allowed, [this] { send_status(); }); timer) {
    status_timer_ = std::move(*timer);
  } else {
    send_status();
  }
}

void ServiceNotify::send_status() {
  if (status_ == sent_status_) return;
  sent_status_ = status_;
  status_sent_usec_ = monotonic_usec();
  send(fmt::format("STATUS={}", status_));
}

void ServiceNotify::extend_timeout(std::uint64_t usec) {
  send(fmt::format("EXTEND_TIMEOUT_USEC={}", usec));
}

void ServiceNotify::feed_watchdog() { send("WATCHDOG=1"); }

void ServiceNotify::keep(int fd, std::string_view name) {
  const std::string state = fmt::format("FDSTORE=1\nFDNAME={}", name);
  const int sent = ::sd_pid_notify_with_fds(0, 0, state.c_str(), &fd, 1);
  if (sent < 0) log_error("{}", Error::from_errno("sd_notify", -sent).message());
}

void ServiceNotify::keep_no_longer(std::string_view name) {
  send(fmt::format("FDSTOREREMOVE=1\nFDNAME={}", name));
}

void ServiceNotify::failed(std::string_view status) {
  status_ = sent_status_ = one_line(status);
  send(fmt::format("STATUS={}", status_));
}

}  // namespace green::manager
