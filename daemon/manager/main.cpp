// greend: command line → sockets → settings → manager → bus → loop. One thread; no Python.
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <utility>

#include "common/log.h"
#include "common/names.h"
#include "daemon/manager/command_line.h"
#include "daemon/manager/manager.h"
#include "daemon/manager/manager_bus.h"
#include "daemon/manager/refusal.h"

namespace green::manager {
namespace {

constexpr std::chrono::seconds refusal_time{2};
/// Between asking and killing what the application left behind.
constexpr std::chrono::seconds leftover_grace{2};

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

struct Sockets {
  std::vector<Listener> listeners;
  bool from_systemd = false;

  ~Sockets() {
    for (const Listener& listener : listeners)
      if (!listener.unlink_path.empty()) ::unlink(listener.unlink_path.c_str());
  }
};

/// A configuration error: whoever waits at systemd's sockets gets an answer.
int refuse(const Sockets& sockets, const Error& error, ServiceNotify& notify) {
  log_error("{}", error.message());
  notify.failed(error.message());
  if (error.code() != ErrorCode::configuration) return exit_failure;
  if (sockets.from_systemd) refuse_clients(sockets.listeners, refusal_time);
  return exit_config;
}

Result<std::vector<EventSource>> handle_signals(EventLoop& loop, Manager& manager) {
  std::vector<EventSource> sources;
  const auto handle = [&](int number, std::function<void()> action) -> Result<void> {
    auto source = loop.add_signal(number, std::move(action));
    if (!source) return fail(std::move(source.error()));
    sources.push_back(std::move(*source));
    return {};
  };
  const auto reload = [&manager] {
    if (const auto job = manager.reload("SIGHUP"); !job)
      log_error("reload: {}", job.error().message());
  };
  for (auto result : {handle(SIGTERM, [&manager] { manager.stop_gracefully(); }),
                      handle(SIGINT, [&manager] { manager.stop_now(); }),
                      handle(SIGQUIT, [&manager] { manager.stop_now(); }), handle(SIGHUP, reload)})
    if (!result) return fail(std::move(result.error()));
  return sources;
}

Result<int> serve(const CommandLine& line, EventLoop& loop, ServiceNotify& notify,
                  Sockets& sockets) {
  auto settings = load_settings(line.sources);
  if (!settings) return refuse(sockets, settings.error(), notify);
  log_set_level(log_level_from_name(settings->values.log_level).value_or(LogLevel::info));
  if (!sockets.from_systemd) {
    auto bound = bind_sockets(settings->values.bind);
    if (!bound) return refuse(sockets, bound.error(), notify);
    sockets.listeners = std::move(*bound);
  } else if (settings->origins["bind"] != "default") {
    log_info("bind is not used: systemd passed the sockets");
  }

  auto children = Children::create(loop);
  if (!children) return fail(std::move(children.error()));
  auto manager = Manager::create(loop, *children, notify, sockets.listeners,
                                 {.site = line.site,
                                  .sources = line.sources,
                                  .initial = *settings,
                                  .worker_program = find_worker_program(),
                                  .binds = !sockets.from_systemd});
  if (!manager) return fail(std::move(manager.error()));
  auto signals = handle_signals(loop, **manager);
  if (!signals) return fail(std::move(signals.error()));
  std::unique_ptr<ManagerBus> bus;
  if (line.bus != "none") bus = ManagerBus::create(loop, **manager, line.site, line.bus);
  if (auto started = (*manager)->start(); !started) return fail(std::move(started.error()));
  for (const Listener& listener : sockets.listeners) log_info("listening on {}", listener.address);

  const auto status = loop.run();
  Children::end_remaining(leftover_grace);
  if (status && *status == exit_config && sockets.from_systemd)
    refuse_clients(sockets.listeners, refusal_time);
  return status;
}

int run(int argc, char** argv) {
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

  auto loop = EventLoop::create();
  Sockets sockets;
  auto passed = take_passed_sockets();
  if (!loop || !passed) {
    log_error("{}", (!loop ? loop.error() : passed.error()).message());
    return exit_failure;
  }
  sockets.from_systemd = passed->any_passed;
  sockets.listeners = std::move(passed->listeners);
  ServiceNotify notify(*loop);
  const auto status = serve(line, *loop, notify, sockets);
  if (!status) log_error("{}", status.error().message());
  return status.value_or(exit_failure);
}

}  // namespace
}  // namespace green::manager

int main(int argc, char** argv) { return green::manager::run(argc, argv); }
