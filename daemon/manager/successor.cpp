#include "daemon/manager/successor.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <utility>

#include "common/scoreboard.h"
#include "common/text.h"
#include "common/worker_channel.h"

extern char** environ;

namespace green::manager {
namespace {

/// It has only to start and to read.
constexpr std::uint64_t check_limit_usec = 10'000'000;
constexpr int state_fd_of_child = 3;

/// As it was started where that was by a path, which may be a link that names another file by now;
/// else the file that runs. Its directory entry may have been replaced: that is the point.
std::string program_of(std::string_view first_argument) {
  if (first_argument.starts_with('/')) return std::string(first_argument);
  std::array<char, 4096> self{};
  const ssize_t size = ::readlink("/proc/self/exe", self.data(), self.size());
  return size > 0 ? std::string(self.data(), static_cast<std::size_t>(size))
                  : std::string(first_argument);
}

std::vector<char*> pointers_to(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

void set_close_on_exec(int fd, bool on) { ::fcntl(fd, F_SETFD, on ? FD_CLOEXEC : 0); }

}  // namespace

int descriptor_argument(std::span<char* const> arguments, std::string_view option) {
  for (const std::string_view argument : arguments) {
    if (!argument.starts_with(option)) continue;
    const std::string_view number = argument.substr(option.size());
    int fd = -1;
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), fd);
    return error == std::errc{} && end == number.data() + number.size() ? fd : -1;
  }
  return -1;
}

Successor::Successor(EventLoop& loop, Children& children, std::span<char* const> arguments)
    : loop_(loop), children_(children) {
  for (const std::string_view argument : arguments)
    if (!argument.starts_with(reexec_state_option)) arguments_.emplace_back(argument);
  program_ = program_of(arguments_.empty() ? std::string_view() : arguments_.front());
}

Result<void> Successor::check(int state, std::function<void(Result<void>)> answer) {
  report_.reset(::memfd_create("green-reexec-report", MFD_CLOEXEC));
  if (!report_) return fail_errno("memfd_create");
  std::vector<std::string> words = arguments_;
  words.push_back(fmt::format("{}{}", check_reexec_state_option, state_fd_of_child));
  auto arguments = pointers_to(words);

  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawnattr_init(&attributes);
  ::posix_spawn_file_actions_adddup2(&actions, report_.get(), STDOUT_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, report_.get(), STDERR_FILENO);
  // Last: the number may be one of those above. (On itself, dup2 here clears close-on-exec.)
  ::posix_spawn_file_actions_adddup2(&actions, state, state_fd_of_child);
  sigset_t none;
  ::sigemptyset(&none);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  pid_t pid = 0;
  const int error =
      ::posix_spawn(&pid, program_.c_str(), &actions, &attributes, arguments.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  ::posix_spawnattr_destroy(&attributes);
  if (error != 0) return fail(Error::from_errno(fmt::format("{} does not start", program_), error));

  answer_ = std::move(answer);
  took_too_long_ = false;
  children_.watch(pid, [this](const ChildExit& child) { checked(child); });
  auto timer = loop_.add_timer(monotonic_usec() + check_limit_usec, [this, pid] {
    took_too_long_ = true;
    ::kill(pid, SIGKILL);  // ours, and not waited for yet: the number is still its own
  });
  if (timer) {
    limit_ = std::move(*timer);
  } else {
    ::kill(pid, SIGKILL);
  }
  return {};
}

void Successor::checked(const ChildExit& child) {
  limit_ = {};
  const auto answer = std::exchange(answer_, {});
  const Fd report = std::move(report_);
  if (child.clean()) {
    answer({});
    return;
  }
  const auto said = read_text(report.get(), 4096);
  std::string why = took_too_long_
                        ? fmt::format("it did not end within {} s", check_limit_usec / 1'000'000)
                        : child.text();
  if (said && !trim(*said).empty()) why += fmt::format(": {}", printable(trim(*said), 1000));
  answer(fail(ErrorCode::unavailable, fmt::format("{} can't take over: {}", program_, why)));
}

Error Successor::execute(int state, std::span<const int> kept) const {
  std::vector<std::string> words = arguments_;
  words.push_back(fmt::format("{}{}", reexec_state_option, state));
  auto arguments = pointers_to(words);
  for (const int fd : kept) set_close_on_exec(fd, false);
  set_close_on_exec(state, false);
  ::execve(program_.c_str(), arguments.data(), environ);
  Error error = Error::from_errno(fmt::format("executing {}", program_));
  for (const int fd : kept) set_close_on_exec(fd, true);
  set_close_on_exec(state, true);
  return error;
}

}  // namespace green::manager
