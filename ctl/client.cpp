// Long, and one file because no other of greenctl may include sdbus-c++.
#include "ctl/client.h"

#include <fmt/format.h>
#include <poll.h>
#include <sdbus-c++/sdbus-c++.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <functional>
#include <map>
#include <utility>

#include "common/text.h"
#include "common/worker_channel.h"
#include "ctl/output.h"
#include "ctl/site.h"
#include "org_greend1_proxy.h"

namespace green::ctl {
namespace {

using Properties = std::map<std::string, sdbus::Variant>;
constexpr const char* systemd_name = "org.freedesktop.systemd1";
using Clock = std::chrono::steady_clock;

/// An answer that needs no work comes at once, or the daemon is stuck.
constexpr Microseconds question_timeout = std::chrono::seconds(10);
/// ssh may have to shake hands first.
constexpr Microseconds remote_timeout = std::chrono::seconds(60);
/// Before it answers a change, the daemon may have a human asked for a password.
constexpr Microseconds change_timeout = std::chrono::minutes(2);
/// How long a greend that is replaced in place may be gone from the bus.
constexpr Microseconds reexec_absence = std::chrono::seconds(20);

class SiteProxy final
    : public sdbus::ProxyInterfaces<org::greend1::Site_proxy, sdbus::Properties_proxy,
                                    sdbus::ObjectManager_proxy> {
 public:
  SiteProxy(sdbus::IConnection& connection, const std::string& site)
      : ProxyInterfaces(connection, bus_name_of_site(site), std::string(bus_path)) {
    registerProxy();
  }
  ~SiteProxy() { unregisterProxy(); }
  SiteProxy(const SiteProxy&) = delete;
  SiteProxy& operator=(const SiteProxy&) = delete;

  using ProxyInterfaces::getProxy;

  /// Ended jobs: one may end before the reply that names it is read.
  std::map<std::uint32_t, JobOutcome> ended;
  /// Phases not yet shown, with their jobs.
  std::vector<std::pair<std::uint32_t, std::string>> phases;

 private:
  void onJobRemoved(const std::uint32_t& job, const std::string& result,
                    const std::string& message) override {
    ended[job] = JobOutcome{job, result, message};
  }
  void onJobChanged(const std::uint32_t& job, const std::string& phase) override {
    phases.emplace_back(job, phase);
  }
  void onPropertiesChanged(const std::string&, const Properties&,
                           const std::vector<std::string>&) override {}
  void onInterfacesAdded(const sdbus::ObjectPath&,
                         const std::map<std::string, Properties>&) override {}
  void onInterfacesRemoved(const sdbus::ObjectPath&, const std::vector<std::string>&) override {}
};

template <typename T>
void read_property(const Properties& properties, const char* name, T& value) {
  const auto found = properties.find(name);
  if (found == properties.end())
    throw sdbus::Error("org.greend1.Error.Mismatch", fmt::format("property {} is missing", name));
  value = found->second.get<T>();
}

WorkerStatus read_worker(const Properties& properties) {
  WorkerStatus worker;
  read_property(properties, "Slot", worker.slot);
  read_property(properties, "PID", worker.pid);
  read_property(properties, "Generation", worker.generation);
  read_property(properties, "StartedTimestamp", worker.started_usec);
  read_property(properties, "State", worker.state);
  read_property(properties, "Activity", worker.activity);
  read_property(properties, "BusySince", worker.busy_since_usec);
  read_property(properties, "Requests", worker.requests);
  read_property(properties, "Connections", worker.connections);
  read_property(properties, "RequestsInFlight", worker.in_flight);
  read_property(properties, "MemoryRSS", worker.rss_bytes);
  read_property(properties, "MemoryPSS", worker.pss_bytes);
  read_property(properties, "CPUUsageNSec", worker.cpu_nsec);
  return worker;
}

template <typename Rows>
std::vector<RequestStatus> read_requests(const Rows& rows) {
  std::vector<RequestStatus> requests;
  for (const auto& row : rows)
    requests.push_back({.slot = row.template get<0>(),
                        .pid = row.template get<1>(),
                        .count = row.template get<4>(),
                        .generation = row.template get<2>(),
                        .since_usec = row.template get<3>(),
                        .request = row.template get<5>(),
                        .client = row.template get<6>(),
                        .state = row.template get<7>()});
  return requests;
}

/// sdbus-c++ shows neither a message's flags nor the message.
struct MessageAccess : sdbus::Message {
  static sd_bus_message* of(const sdbus::Message& message) {
    return static_cast<sd_bus_message*>(message.*(&MessageAccess::msg_));
  }
};

/// Calls a method that starts a job, and that polkit may ask the user about.
template <typename... Arguments>
std::uint32_t start_job(SiteProxy& proxy, const char* method, Microseconds timeout,
                        const Arguments&... arguments) {
  sdbus::IProxy& object = proxy.getProxy();
  sdbus::MethodCall call =
      object.createMethodCall(org::greend1::Site_proxy::INTERFACE_NAME, method);
  sd_bus_message_set_allow_interactive_authorization(MessageAccess::of(call), 1);
  (static_cast<void>(call << arguments), ...);
  call << Properties{};
  std::uint32_t job = 0;
  object.callMethod(call, static_cast<std::uint64_t>(timeout.count())) >> job;
  return job;
}

bool is_one_of(std::string_view name, std::initializer_list<std::string_view> names) {
  return std::ranges::find(names, name) != names.end();
}

}  // namespace

struct Client::Bus {
  std::unique_ptr<sdbus::IConnection> connection;
  std::string name;  ///< as the operator gave it
  bool is_system = false;
  bool is_remote = false;

  /// The unit that a process belongs to; empty: none.
  std::string unit_of(std::uint32_t process) const {
    sdbus::ObjectPath path;
    try {
      sdbus::createProxy(*connection, systemd_name, "/org/freedesktop/systemd1")
          ->callMethod("GetUnitByPID")
          .onInterface("org.freedesktop.systemd1.Manager")
          .withArguments(process)
          .storeResultsTo(path);
    } catch (const sdbus::Error& error) {
      if (is_one_of(error.getName(), {"org.freedesktop.systemd1.NoUnitForPID",
                                      "org.freedesktop.DBus.Error.ServiceUnknown"}))
        return {};  // the latter: no systemd here
      throw;
    }
    return sdbus::createProxy(*connection, systemd_name, path)
        ->getProperty("Id")
        .onInterface("org.freedesktop.systemd1.Unit")
        .get<std::string>();
  }

  bool is_running(const std::string& site) const {
    auto proxy = sdbus::createProxy(*connection, "org.freedesktop.DBus", "/org/freedesktop/DBus");
    bool has_owner = false;
    proxy->callMethod("NameHasOwner")
        .onInterface("org.freedesktop.DBus")
        .withArguments(bus_name_of_site(site))
        .storeResultsTo(has_owner);
    return has_owner;
  }

  /// The process that owns a site's name; nothing: nobody does, or it can't be told.
  std::optional<std::uint32_t> owner_of(const std::string& site) const {
    try {
      std::uint32_t process = 0;
      sdbus::createProxy(*connection, "org.freedesktop.DBus", "/org/freedesktop/DBus")
          ->callMethod("GetConnectionUnixProcessID")
          .onInterface("org.freedesktop.DBus")
          .withArguments(bus_name_of_site(site))
          .storeResultsTo(process);
      return process;
    } catch (const sdbus::Error&) {
      return std::nullopt;
    }
  }

  Failure explain(const sdbus::Error& error, const std::string& site,
                  std::string_view doing) const {
    const std::string& kind = error.getName();
    const std::string reason = printable(error.getMessage(), 500);
    if (is_one_of(kind, {"org.freedesktop.DBus.Error.ServiceUnknown",
                         "org.freedesktop.DBus.Error.NameHasNoOwner"}))
      return {exit_not_running,
              fmt::format("{} is not running; {}", site, how_to_start(site, name))};
    if (is_one_of(kind, {"org.freedesktop.DBus.Error.AccessDenied",
                         "org.freedesktop.DBus.Error.AuthFailed",
                         "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired",
                         "org.greend1.Error.AccessDenied"}))
      return {exit_failure,
              fmt::format("{}: {} was denied ({}); try it as root", site, doing, reason)};
    if (kind == "org.greend1.Error.InvalidArgument" || kind == "org.greend1.Error.Stopping" ||
        kind == "org.greend1.Error.Unavailable")
      return {exit_failure,
              fmt::format("{}: {} failed: {}; see: greenctl status {}", site, doing, reason, site)};
    if (is_one_of(kind, {"org.freedesktop.DBus.Error.NoReply", "org.freedesktop.DBus.Error.Timeout",
                         "org.freedesktop.DBus.Error.TimedOut", "System.Error.ETIMEDOUT"}))
      return explain_silence(site, doing);
    if (is_one_of(kind, {"System.Error.ECONNRESET", "System.Error.ENOTCONN", "System.Error.EPIPE",
                         "org.freedesktop.DBus.Error.Disconnected"}))
      return {exit_failure, fmt::format("{}: the {} bus closed the connection; see whether it runs "
                                        "and try again",
                                        site, name)};
    if (is_one_of(kind, {"org.freedesktop.DBus.Error.UnknownMethod",
                         "org.freedesktop.DBus.Error.UnknownInterface",
                         "org.freedesktop.DBus.Error.UnknownObject", "org.greend1.Error.Mismatch",
                         "org.freedesktop.DBus.Error.InvalidSignature", "System.Error.ENXIO"}))
      return {exit_failure,
              fmt::format("{}: its greend does not speak this greenctl's protocol ({}); restart it "
                          "with: systemctl restart green@{}.service",
                          site, reason, site)};
    return {exit_failure, fmt::format("{}: {} failed: {}", site, doing, reason)};
  }

  /// No reply came: because nobody is there any more, or because who is there is stuck.
  Failure explain_silence(const std::string& site, std::string_view doing) const {
    try {
      if (!is_running(site))
        return {exit_not_running, fmt::format("{} stopped before {} was answered; {}", site, doing,
                                              how_to_start(site, name))};
    } catch (const sdbus::Error& error) {
      return {exit_failure, fmt::format("{}: the {} bus does not answer ({}); see whether it runs",
                                        site, name, printable(error.getMessage()))};
    }
    return {exit_failure,
            fmt::format("{}: no reply to {} in time; see: systemctl status green@{}.service", site,
                        doing, site)};
  }

  void set_timeout(Microseconds timeout) {
    connection->setMethodCallTimeout(static_cast<std::uint64_t>(timeout.count()));
  }

  /// Runs what may throw sdbus::Error: exceptions stop here.
  template <typename Call>
  auto guarded(const std::string& site, std::string_view doing, Call call)
      -> Outcome<decltype(call())> {
    try {
      return call();
    } catch (const sdbus::Error& error) {
      return std::unexpected(explain(error, site, doing));
    }
  }

  /// Calls `start` for a job's number, and waits for JobRemoved if that is wanted.
  /// `absence`: how long the daemon may be gone from the bus meanwhile.
  Outcome<JobOutcome> run_job(const std::string& site, std::string_view doing, const JobWait& wait,
                              const std::function<std::uint32_t(SiteProxy&, Microseconds)>& start,
                              Microseconds absence = Microseconds(0)) {
    try {
      // Both subscriptions come before the call: neither the job's end nor the daemon's can be
      // missed.
      SiteProxy proxy(*connection, site);
      std::optional<Clock::time_point> gone_since;
      bool is_back = false;
      const auto match = connection->addMatch(
          fmt::format(
              "type='signal',sender='org.freedesktop.DBus',interface='org.freedesktop.DBus',"
              "member='NameOwnerChanged',arg0='{}'",
              bus_name_of_site(site)),
          [&gone_since, &is_back](sdbus::Message& change) {
            std::string changed, before, after;
            change >> changed >> before >> after;
            is_back = !after.empty();
            gone_since = after.empty() ? std::optional(Clock::now()) : std::nullopt;
          });
      const std::optional<std::uint32_t> owner = owner_of(site);
      const auto deadline = wait.timeout ? Clock::now() + *wait.timeout : Clock::time_point::max();
      const std::uint32_t job =
          start(proxy, std::min(wait.timeout.value_or(change_timeout), change_timeout));
      if (!wait.is_wanted) return JobOutcome{job, {}, {}};

      while (true) {
        while (connection->processPendingRequest()) {
        }
        for (const auto& [changed, phase] : std::exchange(proxy.phases, {}))
          if (changed == job && wait.on_phase) wait.on_phase(phase);
        // A greend that replaced itself keeps its process and its jobs; another one counts anew.
        if (std::exchange(is_back, false))
          if (const auto now = owner_of(site); owner && now && *now != *owner)
            return fail_with(exit_failure,
                             fmt::format("{} was restarted during {}; see: journalctl -u "
                                         "green@{}.service",
                                         site, doing, site));
        if (const auto ended = proxy.ended.find(job); ended != proxy.ended.end())
          return ended->second;
        if (gone_since && Clock::now() >= *gone_since + absence)
          return fail_with(exit_failure,
                           fmt::format("{} stopped during {}; see: journalctl -u green@{}.service",
                                       site, doing, site));
        if (Clock::now() >= deadline)
          return fail_with(exit_failure,
                           fmt::format("{}: {} has not ended in time and goes on; see: "
                                       "greenctl status {}",
                                       site, doing, site));
        wait_for_bus(gone_since ? std::min(deadline, *gone_since + absence) : deadline);
      }
    } catch (const sdbus::Error& error) {
      return std::unexpected(explain(error, site, doing));
    }
  }

  void wait_for_bus(Clock::time_point deadline) const {
    const auto data = connection->getEventLoopPollData();
    int milliseconds = data.getPollTimeout();
    if (deadline != Clock::time_point::max()) {
      const auto left =
          std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
      const int bounded = static_cast<int>(std::clamp<std::int64_t>(left, 0, 1'000'000));
      milliseconds = milliseconds < 0 ? bounded : std::min(milliseconds, bounded);
    }
    pollfd descriptor{.fd = data.fd, .events = data.events, .revents = 0};
    if (::poll(&descriptor, 1, milliseconds) < 0 && errno != EINTR)
      throw sdbus::createError(errno, "Waiting for the bus");
  }
};

Client::Client(std::unique_ptr<Bus> bus) : bus_(std::move(bus)) {}
Client::Client(Client&&) noexcept = default;
Client& Client::operator=(Client&&) noexcept = default;
Client::~Client() = default;

Outcome<Client> Client::connect(std::string_view name, const std::string& host) {
  auto bus = std::make_unique<Bus>();
  bus->name = name;
  bus->is_system = name == "system";
  bus->is_remote = !host.empty();
  if (bus->is_remote) {
    try {
      bus->connection = sdbus::createRemoteSystemBusConnection(host);
      bus->set_timeout(remote_timeout);
      return Client(std::move(bus));
    } catch (const sdbus::Error& error) {
      return fail_with(
          exit_failure,
          fmt::format("cannot reach the system bus of {} by ssh ({}); try: ssh {} "
                      "systemctl status dbus",
                      printable(host), printable(error.getMessage()), printable(host)));
    }
  }
  if (name != "system" && name != "user" && name.find(':') == std::string_view::npos)
    return fail_with(exit_usage,
                     fmt::format("no bus is called \"{}\": give system, user or an address "
                                 "such as unix:path=/run/bus",
                                 printable(name)));
  try {
    // Not createSessionBusConnectionWithAddress(): in sdbus-c++ 1.2 it leaks the bus it cannot
    // open.
    if (name.find(':') != std::string_view::npos)
      ::setenv("DBUS_SESSION_BUS_ADDRESS", bus->name.c_str(), 1);
    bus->connection =
        name == "system" ? sdbus::createSystemBusConnection() : sdbus::createSessionBusConnection();
    bus->set_timeout(question_timeout);
  } catch (const sdbus::Error& error) {
    return fail_with(
        exit_failure,
        fmt::format("cannot reach the {} bus ({}); name another one with --bus=user or "
                    "--bus=ADDRESS",
                    printable(name), printable(error.getMessage())));
  }
  return Client(std::move(bus));
}

Outcome<std::vector<std::string>> Client::running_sites() {
  try {
    auto proxy =
        sdbus::createProxy(*bus_->connection, "org.freedesktop.DBus", "/org/freedesktop/DBus");
    std::vector<std::string> names, sites;
    proxy->callMethod("ListNames").onInterface("org.freedesktop.DBus").storeResultsTo(names);
    for (const std::string& name : names)
      if (auto site = site_of_bus_name(name); !site.empty()) sites.push_back(std::move(site));
    std::ranges::sort(sites);
    return sites;
  } catch (const sdbus::Error& error) {
    return fail_with(exit_failure, fmt::format("the {} bus did not list its names ({}); try again",
                                               bus_->name, printable(error.getMessage())));
  }
}

Outcome<SiteStatus> Client::status(const std::string& site) {
  return bus_->guarded(site, "status", [&] {
    SiteProxy proxy(*bus_->connection, site);
    const Properties properties = proxy.GetAll(org::greend1::Site_proxy::INTERFACE_NAME);
    SiteStatus status;
    read_property(properties, "Version", status.version);
    read_property(properties, "SiteName", status.site);
    read_property(properties, "MainPID", status.main_pid);
    read_property(properties, "State", status.state);
    read_property(properties, "StatusText", status.status_text);
    read_property(properties, "Application", status.application);
    read_property(properties, "ConfigFile", status.config_file);
    read_property(properties, "Listeners", status.listeners);
    read_property(properties, "Generation", status.generation);
    read_property(properties, "TargetWorkers", status.target_workers);
    read_property(properties, "ReadyWorkers", status.ready_workers);
    read_property(properties, "BusyWorkers", status.busy_workers);
    read_property(properties, "DrainingWorkers", status.draining_workers);
    read_property(properties, "ConfigHash", status.config_hash);
    read_property(properties, "StartedTimestamp", status.started_usec);
    read_property(properties, "LastReloadTimestamp", status.last_reload_usec);
    read_property(properties, "LastReloadResult", status.last_reload_result);
    read_property(properties, "RequestsTotal", status.requests);
    read_property(properties, "WorkerDeathsTotal", status.worker_deaths);
    return status;
  });
}

Outcome<std::vector<WorkerStatus>> Client::workers(const std::string& site) {
  return bus_->guarded(site, "workers", [&] {
    SiteProxy proxy(*bus_->connection, site);
    std::vector<WorkerStatus> workers;
    for (const auto& [path, interfaces] : proxy.GetManagedObjects())
      if (const auto worker = interfaces.find(org::greend1::Worker_proxy::INTERFACE_NAME);
          worker != interfaces.end())
        workers.push_back(read_worker(worker->second));
    std::ranges::sort(workers, {}, &WorkerStatus::slot);
    return workers;
  });
}

Outcome<JobOutcome> Client::reload(const std::string& site, const JobWait& wait) {
  return bus_->run_job(site, "reload", wait, [](SiteProxy& proxy, Microseconds timeout) {
    return start_job(proxy, "Reload", timeout);
  });
}

Outcome<JobOutcome> Client::reexec(const std::string& site, const JobWait& wait) {
  return bus_->run_job(
      site, "reexec", wait,
      [](SiteProxy& proxy, Microseconds timeout) { return start_job(proxy, "Reexec", timeout); },
      reexec_absence);
}

Outcome<JobOutcome> Client::scale(const std::string& site, std::uint32_t workers,
                                  const JobWait& wait) {
  return bus_->run_job(
      site, "scale", wait,
      [workers](SiteProxy& proxy, Microseconds timeout) {
        return start_job(proxy, "Scale", timeout, workers);
      },
      reexec_absence);
}

Outcome<JobOutcome> Client::recycle(const std::string& site, std::uint32_t pid,
                                    const JobWait& wait) {
  return bus_->run_job(site, "recycle", wait, [pid](SiteProxy& proxy, Microseconds timeout) {
    return start_job(proxy, "Recycle", timeout, pid);
  });
}

Outcome<JobOutcome> Client::drain(const std::string& site, const JobWait& wait) {
  return bus_->run_job(site, "drain", wait, [](SiteProxy& proxy, Microseconds timeout) {
    return start_job(proxy, "Drain", timeout);
  });
}

Outcome<JobOutcome> Client::undrain(const std::string& site, const JobWait& wait) {
  return bus_->run_job(site, "undrain", wait, [](SiteProxy& proxy, Microseconds timeout) {
    return start_job(proxy, "Undrain", timeout);
  });
}

Outcome<std::vector<RequestStatus>> Client::requests(const std::string& site) {
  return bus_->guarded(site, "requests", [&] {
    return read_requests(SiteProxy(*bus_->connection, site).ListRequests({}));
  });
}

Outcome<std::vector<RequestStatus>> Client::all_requests(const std::string& site) {
  return bus_->guarded(site, "requests", [&] {
    SiteProxy proxy(*bus_->connection, site);
    try {
      return read_requests(proxy.ListRequests({{"all", sdbus::Variant(true)}}));
    } catch (const sdbus::Error& error) {
      if (error.getName() != "org.greend1.Error.InvalidArgument") throw;
      return read_requests(proxy.ListRequests({}));  // an older greend
    }
  });
}

Outcome<std::string> Client::backtrace(const std::string& site, std::uint32_t pid) {
  auto text = bus_->guarded(site, "backtrace", [&] {
    SiteProxy proxy(*bus_->connection, site);
    const sdbus::UnixFd stacks = proxy.Backtrace(pid, {});
    return read_text(stacks.get());
  });
  if (!text) return std::unexpected(std::move(text).error());
  if (!*text)
    return fail_with(exit_failure, fmt::format("{}: the stacks of process {} can't be read ({}); "
                                               "try again",
                                               site, pid, text->error().message()));
  return std::move(**text);
}

Outcome<std::string> Client::settings(const std::string& site, const std::string& which) {
  return bus_->guarded(site, "config", [&] {
    SiteProxy proxy(*bus_->connection, site);
    return proxy.DescribeSettings(which, {});
  });
}

Outcome<> Client::wait_for_change(Microseconds limit) {
  try {
    bus_->wait_for_bus(Clock::now() + limit);
    while (bus_->connection->processPendingRequest()) {
    }
    return {};
  } catch (const sdbus::Error& error) {
    return fail_with(exit_failure, fmt::format("the {} bus closed the connection ({}); try again",
                                               bus_->name, printable(error.getMessage())));
  }
}

std::vector<UnitStatus> Client::units() {
  using Row =
      sdbus::Struct<std::string, std::string, std::string, std::string, std::string, std::string,
                    sdbus::ObjectPath, std::uint32_t, std::string, sdbus::ObjectPath>;
  std::vector<UnitStatus> found;
  try {
    auto manager = sdbus::createProxy(*bus_->connection, systemd_name, "/org/freedesktop/systemd1");
    std::vector<Row> rows;
    manager->callMethod("ListUnitsByPatterns")
        .onInterface("org.freedesktop.systemd1.Manager")
        .withArguments(std::vector<std::string>{},
                       std::vector<std::string>{"green@*.service", "green@*.socket"})
        .storeResultsTo(rows);
    for (const Row& row : rows) found.push_back({row.get<0>(), row.get<3>(), row.get<4>()});
  } catch (const sdbus::Error&) {
    return {};  // no systemd on this bus: then there are no units
  }
  return found;
}

Outcome<std::string> Client::find_squatter(const std::string& site) {
  if (!bus_->is_system) return {};
  return bus_->guarded(site, "a look at who serves it", [&]() -> std::string {
    Properties owner;
    sdbus::createProxy(*bus_->connection, "org.freedesktop.DBus", "/org/freedesktop/DBus")
        ->callMethod("GetConnectionCredentials")
        .onInterface("org.freedesktop.DBus")
        .withArguments(bus_name_of_site(site))
        .storeResultsTo(owner);
    const auto number = [&owner](const char* key) {
      const auto entry = owner.find(key);
      return entry == owner.end() ? ~0U : entry->second.get<std::uint32_t>();
    };
    const std::uint32_t user = number("UnixUserID");
    const std::uint32_t process = number("ProcessID");
    // Root can be whom it likes; and who runs greend by hand knows it.
    if (user == 0 || (!bus_->is_remote && user == ::getuid())) return {};
    const std::string unit = bus_->unit_of(process);
    const std::string wanted = fmt::format("green@{}.service", site);
    if (unit == wanted) return {};
    return fmt::format(
        "{}: its name on the bus is taken by process {} of uid {} in {}, which is not {}, "
        "so nothing was asked of it; see: systemctl status {}",
        site, process, user, unit.empty() ? "no unit" : printable(unit), wanted, process);
  });
}

Outcome<> Client::verify_owner(const std::string& site) {
  const auto squatter = find_squatter(site);
  if (!squatter) return std::unexpected(squatter.error());
  if (!squatter->empty()) return fail_with(exit_failure, *squatter);
  return {};
}

Outcome<std::uint64_t> Client::monotonic_usec(const std::string& site) {
  if (!bus_->is_remote) return monotonic_now_usec();
  return bus_->guarded(site, "its clock", [&]() -> std::uint64_t {
    try {
      return SiteProxy(*bus_->connection, site).MonotonicUSec();
    } catch (const sdbus::Error& error) {
      if (error.getName() != "org.freedesktop.DBus.Error.UnknownProperty") throw;
      return 0;  // an older greend
    }
  });
}

}  // namespace green::ctl
