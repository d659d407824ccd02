#include "daemon/manager/run_site.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <utility>

#include "common/log.h"
#include "common/names.h"
#include "daemon/manager/failed_starts.h"
#include "daemon/manager/manager.h"
#include "daemon/manager/manager_bus.h"
#include "daemon/manager/refusal.h"

namespace green::manager {
namespace {

Refusal misconfigured() {
  return {.duration = std::chrono::seconds(2),
          .text = "The site is not configured correctly (green)."};
}
/// Renewed every second.
constexpr std::uint64_t hold_back_extension_usec = 10'000'000;
/// Between asking and killing what the application left behind.
constexpr std::chrono::seconds leftover_grace{2};

struct Sockets {
  std::vector<Listener> listeners;
  bool from_systemd = false;

  Sockets() = default;
  Sockets(const Sockets&) = delete;
  Sockets& operator=(const Sockets&) = delete;
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
  if (sockets.from_systemd) refuse_clients(sockets.listeners, misconfigured());
  return exit_config;
}

/// The service manager starts us again, a little after we have ended. A site that fails again and
/// again is held back here, so that the wait can grow (systemd 252 has no RestartSteps=), and
/// clients need not wait it out. Returns the exit status.
int hold_back(const Sockets& sockets, FailedStarts& failed_starts, const std::string& reason,
              ServiceNotify& notify) {
  if (auto added = failed_starts.add(); !added) log_error("{}", added.error().message());
  const std::uint32_t failures = failed_starts.count();
  const std::chrono::seconds wait = FailedStarts::wait_after(failures);
  if (wait.count() == 0) return exit_failure;
  log_notice("failed to start {} times in a row; waiting {} s before the next try", failures,
             wait.count());
  const auto each_second = [&](std::chrono::seconds left) {
    notify.extend_timeout(hold_back_extension_usec);
    notify.failed(fmt::format("failed to start {} times in a row: {}; next try in {} s", failures,
                              gist_of(reason), left.count()));
  };
  const RefusalEnd end =
      refuse_clients(sockets.listeners, {.duration = wait,
                                         .text = "The site does not start at the moment (green).",
                                         .each_second = each_second});
  if (end == RefusalEnd::time_is_up) return exit_failure;
  // Somebody stops the site, perhaps to start it anew: that start is a first one again.
  failed_starts.forget();
  return exit_success;
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

/// What a manager, fresh or resumed, works with.
struct Surroundings {
  const CommandLine& line;
  EventLoop& loop;
  Children& children;
  ServiceNotify& notify;
  Successor& successor;
  Sockets& sockets;
  FailedStarts& failed_starts;

  ManagerOptions options(LoadedSettings settings) const {
    return {.site = line.site,
            .sources = line.sources,
            .initial = std::move(settings),
            .worker_program = find_worker_program(),
            .successor = &successor,
            .failed_starts = &failed_starts,
            .binds = !sockets.from_systemd};
  }
};

/// `begin`: what starts the manager once it can be steered.
Result<int> steer(const Surroundings& with, Manager& manager,
                  const std::function<Result<void>()>& begin) {
  auto signals = handle_signals(with.loop, manager);
  if (!signals) return fail(std::move(signals.error()));
  std::unique_ptr<ManagerBus> bus;
  if (with.line.bus != "none")
    bus = ManagerBus::create(with.loop, manager, with.line.site, with.line.bus);
  if (auto begun = begin(); !begun) return fail(std::move(begun.error()));
  const auto status = with.loop.run();
  with.children.end_remaining(leftover_grace);
  return status;
}

Result<int> start(const Surroundings& with) {
  Sockets& sockets = with.sockets;
  auto passed = take_passed_sockets();
  if (!passed) return fail(std::move(passed.error()));
  sockets.from_systemd = passed->any_passed;
  sockets.listeners = std::move(passed->listeners);
  if (passed->failed_starts) with.failed_starts.take(std::move(passed->failed_starts));
  auto settings = load_settings(with.line.sources);
  if (!settings) return refuse(sockets, settings.error(), with.notify);
  log_set_level(log_level_from_name(settings->values.log_level).value_or(LogLevel::info));
  if (!sockets.from_systemd) {
    auto bound = bind_sockets(settings->values.bind);
    if (!bound) return refuse(sockets, bound.error(), with.notify);
    sockets.listeners = std::move(*bound);
  } else if (settings->origins["bind"] != "default") {
    log_info("bind is not used: systemd passed the sockets");
  }
  auto manager = Manager::create(with.loop, with.children, with.notify, sockets.listeners,
                                 with.options(std::move(*settings)));
  if (!manager) return fail(std::move(manager.error()));
  for (const Listener& listener : sockets.listeners) log_info("listening on {}", listener.address);
  const auto status = steer(with, **manager, [&manager] { return (*manager)->start(); });
  if (status && *status == exit_config && sockets.from_systemd)
    refuse_clients(sockets.listeners, misconfigured());
  const std::string& reason = (*manager)->exit_reason();
  if (status && *status == exit_failure && !reason.empty())
    return hold_back(sockets, with.failed_starts, reason, with.notify);
  return status;
}

/// In the place of the greend that executed us: everything goes on as it was.
Result<int> take_over(const Surroundings& with, const SavedState& saved) {
  for (const int fd : saved.descriptors())
    if (::fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
      return fail_errno(fmt::format("descriptor {} of the greend before", fd));
  with.sockets.from_systemd = saved.sockets_from_systemd;
  for (const SavedListener& listener : saved.listeners)
    with.sockets.listeners.push_back(
        {.fd = Fd(listener.fd), .address = listener.address, .unlink_path = listener.unlink_path});
  auto manager = Manager::resume(with.loop, with.children, with.notify, with.sockets.listeners,
                                 with.options({}), saved);
  if (!manager) return fail(std::move(manager.error()));
  return steer(with, **manager, [&manager]() -> Result<void> {
    (*manager)->reload_after_reexec();
    return {};
  });
}

}  // namespace

Result<int> run_site(const CommandLine& line, std::span<char* const> arguments, Fd state) {
  auto loop = EventLoop::create();
  if (!loop) return fail(std::move(loop.error()));
  auto children = Children::create(*loop);
  if (!children) return fail(std::move(children.error()));
  ServiceNotify notify(*loop);
  Successor successor(*loop, *children, arguments);
  Sockets sockets;
  FailedStarts failed_starts(notify);
  const Surroundings with{line, *loop, *children, notify, successor, sockets, failed_starts};
  if (!state) return start(with);
  const auto saved = read_saved_state(state.get());
  state.reset();
  if (!saved) return fail(saved.error());
  return take_over(with, *saved);
}

}  // namespace green::manager
