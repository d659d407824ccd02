// green-worker: the process that holds Python. greend starts it as a site's zygote, with its
// channel at descriptor 3 (common/worker_spec.h); the zygote forks the workers.
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "common/high_fd.h"
#include "common/log.h"
#include "common/names.h"
#include "common/worker_spec.h"
#include "daemon/worker/process_title.h"
#include "daemon/worker/zygote.h"

namespace {

using namespace green;

bool is_channel(int fd) {
  int type = 0;
  socklen_t size = sizeof type;
  return ::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_SEQPACKET;
}

/// greend takes them out too; application code must not speak for the service.
void drop_service_variables() {
  for (const char* name : {"NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID",
                           "WATCHDOG_USEC", "WATCHDOG_PID", "MAINPID", "FDSTORE"})
    ::unsetenv(name);
}

Result<worker::OriginalProcess> remember_process(int argc, char** argv) {
  worker::OriginalProcess original;
  for (int i = 0; i < argc; ++i)
    if (argv[i] != worker::respawn_argument) original.arguments.emplace_back(argv[i]);
  for (char** variable = environ; *variable != nullptr; ++variable)
    original.environment.emplace_back(*variable);
  auto folder = move_high(Fd(::open(".", O_PATH | O_DIRECTORY | O_CLOEXEC)));
  if (!folder) return fail(std::move(folder.error()).context("the working folder"));
  original.working_folder = std::move(*folder);
  original.umask = ::umask(0);
  ::umask(original.umask);
  return original;
}

Result<int> run(int argc, char** argv, bool respawned) {
  auto original = remember_process(argc, argv);
  if (!original) return fail(std::move(original.error()));
  auto channel = move_high(Fd(worker_channel_fd));
  if (!channel) return fail(std::move(channel.error()));
  Fd spec_channel;
  if (respawned) {
    auto moved = move_high(Fd(worker::respawn_spec_fd));
    if (!moved) return fail(std::move(moved.error()));
    spec_channel = std::move(*moved);
  }
  return worker::Zygote(std::move(*channel), std::move(spec_channel), std::move(*original)).run();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 2 && std::string_view(argv[1]) == "--version") {
    std::printf("green-worker %s\n", std::string(version).c_str());
    return exit_success;
  }
  if (argc < 2 || !is_channel(worker_channel_fd)) {
    std::fputs(
        "green-worker: greend starts this program for each site; it does nothing by hand. See "
        "greend(8).\n",
        stderr);
    return exit_usage;
  }
  drop_service_variables();
  worker::prepare_process_title(argc, argv);
  const bool respawned = argv[argc - 1] == worker::respawn_argument;
  log_open({.identifier = "green-worker", .site = {}}, LogLevel::info);
  const auto status = run(argc, argv, respawned);
  if (status) return *status;
  log_error("{}", status.error().message());
  return exit_failure;
}
