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

/// All that could still fail once the greend that asks is gone.
Result<void> can_take_over(int fd, int argc, char** argv) {
  const auto state = read_saved_state(fd);
  if (!state) return fail(state.error());
  for (const SavedGeneration& generation : state->generations)
    if (auto settings = settings_from_toml(generation.settings); !settings)
      return fail(std::move(settings.error()));
  const auto parsed = parse_command_line(argc, argv);
  if (const auto* refused = std::get_if<CommandLineExit>(&parsed))
    return fail(ErrorCode::configuration, refused->error);
  if (const std::string worker = find_worker_program(); ::access(worker.c_str(), X_OK) < 0)
    return fail_errno(worker);
  return {};
}

/// Asked by a running greend, before it lets us take over with these arguments: can we?
int check_state(int fd, int argc, char** argv) {
  const auto answer = can_take_over(fd, argc, argv);
  if (!answer) std::fprintf(stderr, "%s\n", answer.error().message().c_str());
  return answer ? exit_success : exit_failure;
}

int run(int argc, char** argv) {
  const std::span<char* const> arguments(argv, static_cast<std::size_t>(argc));
  // Either is the last one.
  if (const int fd = descriptor_argument(arguments, check_reexec_state_option); fd >= 0)
    return check_state(fd, argc - 1, argv);
  const int state_fd = descriptor_argument(arguments, reexec_state_option);
  if (state_fd >= 0) --argc;
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
