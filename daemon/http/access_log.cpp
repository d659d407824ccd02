#include "daemon/http/access_log.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cerrno>
#include <initializer_list>
#include <utility>

#include "common/high_fd.h"
#include "common/log.h"
#include "common/message_ids.h"

namespace green::http {
namespace {

constexpr std::uint64_t report_interval_usec = 60'000'000;
constexpr int stream_flags = O_WRONLY | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;

bool is_full(int errno_value) { return errno_value == ENOSPC || errno_value == EDQUOT; }

}  // namespace

AccessLog::AccessLog(AccessFormat format, AccessOrigin origin)
    : origin_(origin), line_(std::move(format), std::move(origin)) {}

Result<std::unique_ptr<AccessLog>> AccessLog::create(const Settings& settings, AccessOrigin origin,
                                                     const char* journal_path) {
  if (settings.access_log == "off") return nullptr;
  auto format = parse_access_format(settings.access_log_format);
  if (!format) return fail(std::move(format.error()).context("access_log_format"));
  std::unique_ptr<AccessLog> log(new AccessLog(std::move(*format), std::move(origin)));
  if (settings.access_log == "journal") {
    auto journal = JournalSocket::open(journal_path);
    if (!journal) return fail(std::move(journal.error()));
    log->journal_ = std::move(*journal);
    return log;
  }
  if (settings.access_log != "-") log->path_ = settings.access_log;
  // Where a disk is full there may be room later, and the site does without till then.
  if (auto opened = log->open_stream(); !opened && !is_full(opened.error().errno_value()))
    return fail(ErrorCode::configuration,
                std::move(opened.error()).context("access_log").message());
  return log;
}

Result<void> AccessLog::open_stream() {
  Fd stream;
  if (!path_.empty()) {
    stream.reset(::open(path_.c_str(), stream_flags | O_CREAT, 0640));
    if (!stream) return fail_errno(path_);
  } else {
    struct stat status{};
    if (::fstat(STDOUT_FILENO, &status) < 0) return fail_errno("standard output");
    is_socket_ = S_ISSOCK(status.st_mode);
    // Opened anew: not to block must be this log's own, and not what print() finds.
    if (!is_socket_) stream.reset(::open("/proc/self/fd/1", stream_flags));
    if (!stream) {
      stream.reset(::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, moved_fd));
      is_shared_ = !is_socket_;
    }
    if (!stream) return fail_errno("standard output");
  }
  auto high = move_high(std::move(stream));
  if (!high) return fail(std::move(high.error()));
  stream_ = std::move(*high);
  return {};
}

void AccessLog::write(const AccessEntry& entry) {
  if (journal_) return write_to_journal(entry);
  entry_ = line_.make(entry);
  entry_ += '\n';
  write_to_stream(entry_);
}

void AccessLog::write_to_journal(const AccessEntry& entry) {
  const Request& request = entry.request;
  entry_.clear();
  append_journal_field(entry_, "MESSAGE", line_.make(entry));
  const auto add = [this](std::string_view name, std::string_view value) {
    if (value.empty()) return;
    entry_ += name;
    entry_ += '=';
    append_escaped(entry_, value, AccessLine::longest);
    entry_ += '\n';
  };
  add("PRIORITY", "6");
  add("MESSAGE_ID", message_id::access);
  add("SYSLOG_IDENTIFIER", "green-worker");
  add("SITE", origin_.site);
  add("GENERATION", std::to_string(origin_.generation));
  add("WORKER", std::to_string(origin_.worker));
  add("REQUEST_ID", request.request_id);
  add("METHOD", request.method);
  add("PATH", request.path);
  add("STATUS", std::to_string(entry.status));
  add("DURATION_USEC", std::to_string(entry.duration_usec));
  add("BYTES", std::to_string(entry.bytes));
  add("REMOTE_ADDR", request.endpoints->remote_address);
  if (auto sent = journal_->send(entry_); !sent) drop(sent.error().errno_value());
}

void AccessLog::write_to_stream(std::string_view line) {
  if (!stream_) return drop(ENOSPC);
  if (!torn_.empty()) {
    const auto taken = put(torn_);
    if (taken > 0) torn_.erase(0, static_cast<std::size_t>(taken));
    if (!torn_.empty()) return drop(taken < 0 ? errno : EAGAIN);
  }
  const auto taken = put(line);
  if (taken < 0) return drop(errno);
  torn_ = line.substr(static_cast<std::size_t>(taken));
}

ssize_t AccessLog::put(std::string_view bytes) const {
  if (is_shared_) {
    // A pipe that is writable takes what AccessLine::longest allows.
    pollfd ready{.fd = stream_.get(), .events = POLLOUT, .revents = 0};
    if (::poll(&ready, 1, 0) <= 0) {
      errno = EAGAIN;
      return -1;
    }
  }
  ssize_t taken = 0;
  do {
    taken = is_socket_
                ? ::send(stream_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL)
                : ::write(stream_.get(), bytes.data(), bytes.size());
  } while (taken < 0 && errno == EINTR);
  return taken;
}

void AccessLog::drop(int errno_value) {
  ++dropped_;
  why_dropped_ = errno_value;
}

void AccessLog::report(std::uint64_t now_usec) {
  if (dropped_ == 0 || now_usec < next_report_usec_) return;
  if (!journal_ && !stream_)
    if (auto opened = open_stream(); !opened) why_dropped_ = opened.error().errno_value();
  const std::string text =
      fmt::format("access log: {} lines were dropped: {}", dropped_,
                  why_dropped_ == EAGAIN ? "its target does not keep up"
                                         : Error::from_errno("writing", why_dropped_).message());
  Result<void> told = fail(ErrorCode::unavailable, "no journal");
  if (journal_) {
    entry_.clear();
    for (const auto& [name, value] : std::initializer_list<std::pair<const char*, std::string>>{
             {"PRIORITY", "4"},
             {"MESSAGE", text},
             {"SYSLOG_IDENTIFIER", "green-worker"},
             {"SITE", origin_.site},
             {"GENERATION", std::to_string(origin_.generation)},
             {"WORKER", std::to_string(origin_.worker)}})
      append_journal_field(entry_, name, value);
    told = journal_->send(entry_);
    // The log would lose it in the same way.
    if (!told && told.error().errno_value() == EAGAIN) return;
  }
  if (!told) log_warning("{}", text);
  dropped_ = 0;
  next_report_usec_ = now_usec + report_interval_usec;
}

}  // namespace green::http
