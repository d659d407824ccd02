#include "daemon/worker/zygote.h"

#include <fcntl.h>
#include <fmt/ranges.h>
#include <linux/close_range.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "common/high_fd.h"
#include "common/log.h"
#include "common/names.h"
#include "daemon/worker/process_title.h"
#include "daemon/worker/worker.h"
#include "daemon/worker/worker_signals.h"

namespace green::worker {
namespace {

using python::LoadFailure;

std::vector<char*> pointers_to(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  pointers.reserve(texts.size() + 1);
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

Zygote::Zygote(Fd channel, Fd spec_channel, OriginalProcess original)
    : channel_(std::move(channel)),
      spec_channel_(std::move(spec_channel)),
      original_(std::move(original)) {}

int Zygote::run() {
  ignore_terminal_signals();
  auto received = receive_spec();
  if (!received) {
    const LoadFailure failure{StartFailure::configuration, received.error().message()};
    log_error("{}", failure.text);
    if (auto sent = send_failure(channel_.get(), MessageType::import_failed, 0, failure); !sent)
      log_debug("{}", sent.error().message());
    return exit_config;
  }
  process_ = std::make_unique<SiteProcess>(std::move(*received));
  log_open({.identifier = "green-worker",
            .site = process_->site,
            .generation = fmt::format("{}", process_->generation)},
           process_->maximum_log_level());
  set_process_title(process_->title() + " zygote");
  if (auto loaded = load(); !loaded) {
    if (auto sent = send_failure(channel_.get(), MessageType::import_failed, 0, loaded.error());
        !sent)
      log_error("{}: {}", sent.error().message(), loaded.error().text);
    return exit_status_of(loaded.error());
  }
  process_->runtime->freeze();
  Message imported;
  imported.type = MessageType::imported;
  if (auto sent = send_with_text(channel_.get(), imported, warning_); !sent) {
    log_debug("{}", sent.error().message());  // greend is gone, and we with it
    return exit_success;
  }
  return serve();
}

Result<SiteProcess> Zygote::receive_spec() {
  auto received = receive_message(spec_channel_ ? spec_channel_.get() : channel_.get());
  if (!received) return fail(std::move(received.error()));
  if (!*received)
    return fail(ErrorCode::unavailable, "greend closed the channel before it sent a spec");
  Fd warning;
  auto process = SiteProcess::receive(std::move(**received), warning);
  if (!process) return process;
  if (spec_channel_ || process->settings.preload == "off") import_in_ = ImportIn::workers;
  spec_channel_.reset();
  if (warning) {
    auto text = read_text(warning.get());
    if (!text) return fail(std::move(text.error()));
    warning_ = std::move(*text);
  }
  return process;
}

std::expected<void, LoadFailure> Zygote::load() {
  auto runtime = python::Runtime::create(process_->settings);
  if (!runtime) return std::unexpected(runtime.error());
  process_->runtime = std::move(*runtime);
  process_->runtime->enable_stack_dumps(worker_dump_signal(), process_->low_descriptors.error());
  if (import_in_ == ImportIn::workers) return {};
  if (auto loaded = process_->runtime->load_application(); !loaded) return loaded;
  const auto hazards = process_->runtime->fork_hazards();
  if (hazards.empty()) return {};
  const std::string named = fmt::format("{}", fmt::join(hazards, ", "));
  if (process_->settings.preload == "on") {
    warning_ = fmt::format(
        "the import left {}, which workers forked from it don't get or share; "
        "preload = \"on\" forks all the same",
        named);
    return {};
  }
  const auto respawned =
      respawn(fmt::format("the import left {}, which does not survive a fork: each worker imports "
                          "the application for itself",
                          named));
  return std::unexpected(LoadFailure{StartFailure::application, respawned.error().message()});
}

Result<void> Zygote::respawn(const std::string& warning) {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) < 0)
    return fail_errno("socketpair");
  Fd writing(ends[0]);
  auto reading = move_high(Fd(ends[1]));
  if (!reading) return fail(std::move(reading.error()));
  if (auto stashed = stash_spec(writing.get(), warning); !stashed) return stashed;
  ::umask(original_.umask);
  if (::fchdir(original_.working_folder.get()) < 0)
    return fail_errno("going back to the working folder");
  process_->low_descriptors.restore_streams();
  // dup2 clears close-on-exec on these two; everything else goes, the application's sockets
  // included.
  if (::dup2(channel_.get(), worker_channel_fd) < 0 ||
      ::dup2(reading->get(), respawn_spec_fd) < 0 ||
      ::close_range(respawn_spec_fd + 1, ~0U, CLOSE_RANGE_CLOEXEC) < 0)
    return fail_errno("preparing to start anew");
  original_.arguments.emplace_back(respawn_argument);
  auto arguments = pointers_to(original_.arguments);
  auto environment = pointers_to(original_.environment);
  ::execve("/proc/self/exe", arguments.data(), environment.data());
  return fail_errno("executing green-worker anew");
}

Result<void> Zygote::stash_spec(int channel, const std::string& warning) {
  const SiteProcess& process = *process_;
  const auto settings = make_text_memfd("green-settings", settings_to_toml(process.settings));
  if (!settings) return fail(settings.error());
  const auto text = make_text_memfd("green-warning", warning);
  if (!text) return fail(text.error());
  Message message;
  message.type = MessageType::spec;
  message.spec.slot_count = process.scoreboard.slot_count();
  message.spec.generation = process.generation;
  message.spec.listener_count = static_cast<std::uint32_t>(process.listeners.size());
  process.site.copy(message.spec.site.data(), message.spec.site.size() - 1);
  std::vector<int> descriptors{settings->get(), process.scoreboard.fd()};
  for (const Fd& listener : process.listeners) descriptors.push_back(listener.get());
  descriptors.push_back(text->get());
  return send_message(channel, message, descriptors);
}

int Zygote::serve() {
  for (;;) {
    Result<std::optional<ReceivedMessage>> received;
    process_->runtime->without_gil([&] { received = receive_message(channel_.get()); });
    if (!received) {
      log_error("zygote: {}", received.error().message());
      return exit_failure;
    }
    if (!*received) return exit_success;
    ReceivedMessage& message = **received;
    if (message.message.type == MessageType::log_level) {
      process_->set_log_level(static_cast<LogLevel>(message.message.code));
      continue;
    }
    if (message.message.type != MessageType::fork_worker || message.descriptors.size() != 1) {
      log_error("zygote: a message of type {} that it does not know",
                static_cast<std::uint32_t>(message.message.type));
      continue;
    }
    if (const auto status =
            fork_worker(message.message.slot, std::move(message.descriptors.front())))
      return *status;
  }
}

std::optional<int> Zygote::fork_worker(std::uint32_t slot, Fd worker_channel) {
  const auto pid = fork_twice();
  if (pid && *pid == 0) {
    channel_.reset();
    return run_worker(*process_, std::move(worker_channel), slot, import_in_ == ImportIn::workers);
  }
  Message answer;
  answer.slot = slot;
  if (pid) {
    answer.type = MessageType::forked;
    answer.pid = *pid;
  } else {
    answer.type = MessageType::fork_failed;
    answer.code = pid.error().errno_value();
  }
  // A failure means that greend is gone: the next read says so.
  if (auto sent = send_message(channel_.get(), answer); !sent)
    log_debug("{}", sent.error().message());
  return std::nullopt;
}

Result<pid_t> Zygote::fork_twice() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) < 0) return fail_errno("pipe2");
  const Fd reading(ends[0]);
  Fd writing(ends[1]);
  process_->runtime->before_fork();
  const pid_t intermediate = ::fork();
  if (intermediate == 0) {
    const pid_t worker = ::fork();
    if (worker == 0) {
      process_->runtime->after_fork_child();
      return 0;
    }
    const int report = worker < 0 ? -errno : worker;
    // Too short to be split; an unread one means that the zygote is gone.
    [[maybe_unused]] const ssize_t written = ::write(writing.get(), &report, sizeof report);
    ::_exit(0);
  }
  const int fork_errno = errno;
  process_->runtime->after_fork_parent();
  if (intermediate < 0) return fail(Error::from_errno("fork", fork_errno));
  writing.reset();
  int report = -EPIPE;
  ssize_t size = 0;
  do size = ::read(reading.get(), &report, sizeof report);
  while (size < 0 && errno == EINTR);
  // Only when it has ended is the worker greend's child. (ECHILD: the application ignores SIGCHLD,
  // and the wait ended as the child did.)
  while (::waitpid(intermediate, nullptr, 0) < 0 && errno == EINTR) {
  }
  if (size != sizeof report) return fail(Error::from_errno("fork", EPIPE));
  if (report < 0) return fail(Error::from_errno("fork", -report));
  return report;
}

}  // namespace green::worker
