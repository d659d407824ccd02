// greend: command line → run_site (sockets → settings → manager → bus → loop). One thread; no
// Python.
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <span>
#include <string>
#include <variant>

#include "common/log.h"
#include "common/names.h"
#include "daemon/manager/command_line.h"
#include "daemon/manager/reexec_state.h"
#include "daemon/manager/run_site.h"
#include "daemon/manager/successor.h"
#include "daemon/manager/worker_process.h"

namespace green::manager {
namespace {

/// Blocked before anything else: the loop reads them.
void block_signals() {
  sigset_t handled;
  ::sigemptyset(&handled);
  for (const int number : {SIGCHLD, SIGTERM, SIGINT, SIGQUIT, SIGHUP})
    ::sigaddset(&handled, number);
  ::sigprocmask(SIG_BLOCK, &handled, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
}

/// Prints what the settings are, or that they are fine; nothing is started.
int report_settings(const CommandLine& line) {
  const auto loaded = load_settings(line.sources);
  if (!loaded) {
    log_error("{}", loaded.error().message());
    return exit_config;
  }
  std::fputs(line.print_config ? describe_settings(*loaded).c_str() : "The settings are fine.\n",
             stdout);
  return std::fflush(stdout) == 0 ? exit_success : exit_failure;
}

/// Asked by a running greend, before it lets us take over: can we?
int check_state(int fd) {
  std::string why;
  if (const auto state = read_saved_state(fd); !state) {
    why = state.error().message();
  } else if (const std::string worker = find_worker_program(); ::access(worker.c_str(), X_OK) < 0) {
    why = Error::from_errno(worker).message();
  }
  if (why.empty()) return exit_success;
  std::fprintf(stderr, "%s\n", why.c_str());
  return exit_failure;
}

int run(int argc, char** argv) {
  const std::span<char* const> arguments(argv, static_cast<std::size_t>(argc));
  if (const int fd = descriptor_argument(arguments, check_reexec_state_option); fd >= 0)
    return check_state(fd);
  const int state_fd = descriptor_argument(arguments, reexec_state_option);
  if (state_fd >= 0) --argc;  // it is the last one
  block_signals();
  const auto parsed = parse_command_line(argc, argv);
  if (const auto* done = std::get_if<CommandLineExit>(&parsed)) {
    std::fputs(done->output.c_str(), stdout);
    if (!done->error.empty()) std::fprintf(stderr, "greend: %s\n", done->error.c_str());
    return done->status;
  }
  const auto& line = std::get<CommandLine>(parsed);
  log_open({.identifier = "greend", .site = line.site}, LogLevel::info);
  if (line.check_config || line.print_config) return report_settings(line);

  const auto status = run_site(line, arguments, Fd(state_fd));
  if (!status) log_error("{}", status.error().message());
  return status.value_or(exit_failure);
}

}  // namespace
}  // namespace green::manager

int main(int argc, char** argv) { return green::manager::run(argc, argv); }
