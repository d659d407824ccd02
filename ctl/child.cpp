#include "ctl/child.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <systemd/sd-login.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <sstream>

extern char** environ;

namespace green::ctl {
namespace {

/// One that can't start ends, which is noticed at once.
constexpr int agent_patience_ms = 15'000;
constexpr int not_runnable = 127;

/// What a child has for its standard streams; -1: ours.
struct Streams {
  int in = -1;
  int out = -1;
  int error = -1;
};

pid_t start(const std::vector<std::string>& command, const Streams& streams) {
  std::vector<char*> arguments;
  // execvp(3) does not write through them.
  for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  if (streams.in >= 0) ::posix_spawn_file_actions_adddup2(&actions, streams.in, STDIN_FILENO);
  if (streams.out >= 0) ::posix_spawn_file_actions_adddup2(&actions, streams.out, STDOUT_FILENO);
  if (streams.error >= 0)
    ::posix_spawn_file_actions_adddup2(&actions, streams.error, STDERR_FILENO);
  posix_spawnattr_t attributes;
  ::posix_spawnattr_init(&attributes);
  sigset_t ours;
  ::sigemptyset(&ours);
  ::sigaddset(&ours, SIGPIPE);
  ::posix_spawnattr_setsigdefault(&attributes, &ours);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
  pid_t pid = -1;
  const int error =
      ::posix_spawnp(&pid, arguments.front(), &actions, &attributes, arguments.data(), environ);
  ::posix_spawnattr_destroy(&attributes);
  ::posix_spawn_file_actions_destroy(&actions);
  return error == 0 ? pid : -1;
}

int wait_for(pid_t pid) {
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0)
    if (errno != EINTR) return not_runnable;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

std::pair<Fd, Fd> make_pipe() {
  std::array<int, 2> ends{-1, -1};
  if (::pipe2(ends.data(), O_CLOEXEC) < 0) return {};
  return {Fd(ends[0]), Fd(ends[1])};
}

std::string variable(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? std::string() : value;
}

bool has_variable(const char* name) { return std::getenv(name) != nullptr; }

std::vector<std::string> words_of(const std::string& command) {
  std::istringstream stream(command);
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

/// A pager starts a shell at a key. Where this runs for somebody else than who logged in, as by
/// sudo, it may not, and who logged in does not choose it.
enum class Trust { none, no_shell, full };

Trust trust_in_environment() {
  if (has_variable("SUDO_UID") || has_variable("PKEXEC_UID")) return Trust::none;
  uid_t owner = 0;
  if (::sd_pid_get_owner_uid(0, &owner) < 0) return Trust::no_shell;
  return owner == ::geteuid() ? Trust::full : Trust::none;
}

std::string pager() {
  for (const char* const name : {"GREENCTL_PAGER", "SYSTEMD_PAGER", "PAGER"})
    if (has_variable(name)) return variable(name);
  return "less";
}

}  // namespace

std::string output_of(const std::vector<std::string>& command) {
  auto [reader, writer] = make_pipe();
  const Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!reader || !null) return {};
  const pid_t pid = start(command, {.in = null.get(), .out = writer.get(), .error = null.get()});
  writer.reset();
  if (pid < 0) return {};
  std::string text;
  std::array<char, 4096> part;
  for (ssize_t size = 0; (size = ::read(reader.get(), part.data(), part.size())) != 0;) {
    if (size < 0 && errno != EINTR) break;
    if (size > 0) text.append(part.data(), static_cast<std::size_t>(size));
  }
  return wait_for(pid) == 0 ? text : std::string();
}

int run_attached(const std::vector<std::string>& command) {
  const pid_t pid = start(command, {});
  if (pid < 0) return not_runnable;
  // A key that ends it is for it, not for us.
  auto* const before = ::signal(SIGINT, SIG_IGN);
  const int status = wait_for(pid);
  ::signal(SIGINT, before);
  return status;
}

bool show_by_pager(std::string_view text) {
  const Trust trust = trust_in_environment();
  const std::vector<std::string> command = words_of(trust == Trust::none ? "less" : pager());
  if (command.empty() || command.front() == "cat") return false;
  // As systemctl has it: colours kept, no pager for what fits, and nothing cleared at its end.
  if (!has_variable("LESS")) ::setenv("LESS", "FRSXMK", 1);
  if (!has_variable("LESSCHARSET")) ::setenv("LESSCHARSET", "utf-8", 1);
  if (trust != Trust::full) ::setenv("LESSSECURE", "1", 1);
  auto [reader, writer] = make_pipe();
  if (!reader) return false;
  const pid_t pid = start(command, {.in = reader.get()});
  reader.reset();
  if (pid < 0) return false;
  while (!text.empty()) {
    const ssize_t size = ::write(writer.get(), text.data(), text.size());
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) break;  // whoever reads has seen enough
    text.remove_prefix(static_cast<std::size_t>(size));
  }
  writer.reset();
  auto* const before = ::signal(SIGINT, SIG_IGN);
  const int status = wait_for(pid);
  ::signal(SIGINT, before);
  return status != not_runnable;
}

void TtyAgent::start() {
  if (pid_ >= 0 || ::isatty(STDIN_FILENO) != 1) return;
  auto [reader, writer] = make_pipe();
  if (!reader) return;
  // It closes this descriptor when it listens.
  const int inherited = ::fcntl(writer.get(), F_DUPFD, 10);
  writer.reset();
  if (inherited < 0) return;
  pid_ = ctl::start({"pkttyagent", "--process", fmt::format("{}", ::getpid()), "--notify-fd",
                     fmt::format("{}", inherited), "--fallback"},
                    {});
  ::close(inherited);
  pollfd closed{.fd = reader.get(), .events = POLLIN, .revents = 0};
  if (pid_ >= 0) ::poll(&closed, 1, agent_patience_ms);
}

TtyAgent::~TtyAgent() {
  if (pid_ < 0) return;
  ::kill(pid_, SIGTERM);
  ::kill(pid_, SIGCONT);
  wait_for(pid_);
}

}  // namespace green::ctl
