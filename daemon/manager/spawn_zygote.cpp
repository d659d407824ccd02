// spawn_zygote(): from greend to a clean green-worker process. Between fork and exec only
// async-signal-safe calls.
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string>
#include <vector>

#include "common/log.h"
#include "common/names.h"
#include "daemon/manager/worker_process.h"

extern char** environ;

namespace green::manager {
namespace {

/// The service manager's words are for greend alone: the application must not speak for the
/// service. GREEN_* is greend's own configuration.
bool is_ours(std::string_view variable) {
  constexpr std::array<std::string_view, 5> prefixes{"NOTIFY_SOCKET=", "LISTEN_", "WATCHDOG_",
                                                     "MAINPID=", "FDSTORE="};
  if (variable.starts_with(environment_prefix)) return true;
  for (const std::string_view prefix : prefixes)
    if (variable.starts_with(prefix)) return true;
  return false;
}

/// Where execution of the child ends on failure; the parent reads errno from the pipe.
[[noreturn]] void fail_child(int error_pipe) {
  const int error = errno;
  [[maybe_unused]] const ssize_t written = ::write(error_pipe, &error, sizeof error);
  ::_exit(127);
}

[[noreturn]] void become_zygote(const char* program, char* const* arguments,
                                char* const* environment, int channel, int error_pipe,
                                pid_t manager) {
  // A zygote in the middle of an import would outlive greend: it does not read its channel then.
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) < 0) fail_child(error_pipe);
  if (::getppid() != manager) ::_exit(127);
  // Above what is placed below, wherever the two were.
  const int high_channel = ::fcntl(channel, F_DUPFD_CLOEXEC, 10);
  const int high_pipe = ::fcntl(error_pipe, F_DUPFD_CLOEXEC, 10);
  const int null = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (high_channel < 0 || high_pipe < 0 || null < 0) fail_child(error_pipe);
  if (::dup2(null, STDIN_FILENO) < 0 || ::dup2(high_channel, worker_channel_fd) < 0)
    fail_child(high_pipe);
  if (::close_range(worker_channel_fd + 1, ~0U, CLOSE_RANGE_CLOEXEC) < 0) fail_child(high_pipe);
  for (int number = 1; number < NSIG; ++number)
    if (number != SIGKILL && number != SIGSTOP) ::signal(number, SIG_DFL);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::execve(program, arguments, environment);
  fail_child(high_pipe);
}

}  // namespace

std::string find_worker_program() {
  std::array<char, 4096> self{};
  const ssize_t size = ::readlink("/proc/self/exe", self.data(), self.size() - 1);
  if (size > 0) {
    std::string beside(self.data(), static_cast<std::size_t>(size));
    beside.erase(beside.rfind('/') + 1);
    beside += "green-worker";
    if (::access(beside.c_str(), X_OK) == 0) return beside;
  }
  return GREEN_WORKER_PATH;
}

Result<pid_t> spawn_zygote(const ZygoteSpawn& spawn) {
  std::string title = "green-worker";
  std::string site = spawn.site;
  std::string generation = fmt::format("{}", spawn.generation);
  const std::array<char*, 4> arguments{title.data(), site.data(), generation.data(), nullptr};
  std::vector<char*> environment;
  for (char** variable = environ; *variable != nullptr; ++variable)
    if (!is_ours(*variable)) environment.push_back(*variable);
  environment.push_back(nullptr);

  std::array<int, 2> pipe_ends{};
  if (::pipe2(pipe_ends.data(), O_CLOEXEC) < 0) return fail_errno("pipe");
  const Fd read_end(pipe_ends[0]);
  Fd write_end(pipe_ends[1]);
  const pid_t manager = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) return fail_errno("fork of a zygote");
  if (pid == 0)
    become_zygote(spawn.program.c_str(), arguments.data(), environment.data(), spawn.channel.get(),
                  write_end.get(), manager);
  write_end.reset();
  int child_error = 0;
  ssize_t size = 0;
  do size = ::read(read_end.get(), &child_error, sizeof child_error);
  while (size < 0 && errno == EINTR);
  if (size == sizeof child_error)
    return fail(Error::from_errno(fmt::format("starting {}", spawn.program), child_error));
  return pid;
}

}  // namespace green::manager
