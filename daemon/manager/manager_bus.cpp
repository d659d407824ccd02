#include "daemon/manager/manager_bus.h"

#include <poll.h>
#include <sdbus-c++/sdbus-c++.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <optional>
#include <utility>

#include "common/log.h"
#include "common/names.h"
#include "daemon/manager/bus_preflight.h"
#include "org_greend1_adaptor.h"

namespace green::manager {
namespace {

/// A bus that does not answer our own calls must not hold the manager for long.
constexpr std::uint64_t call_timeout_usec = 2'000'000;
constexpr std::uint64_t first_retry_usec = 500'000;
constexpr std::uint64_t longest_retry_usec = 10'000'000;
constexpr std::uint64_t signal_interval_usec = 200'000;
constexpr const char* address_variable = "DBUS_SESSION_BUS_ADDRESS";

using Options = std::map<std::string, sdbus::Variant>;

[[noreturn]] void throw_error(std::string_view name, const std::string& message) {
  throw sdbus::Error(fmt::format("{}{}", bus_error_prefix, name), message);
}

std::uint32_t job_or_throw(const Result<JobId>& job) {
  if (job) return *job;
  throw_error(job.error().code() == ErrorCode::configuration ? "InvalidArgument"
              : job.error().code() == ErrorCode::unavailable ? "Unavailable"
                                                             : "Stopping",
              job.error().message());
}

using SiteInterfaces =
    sdbus::AdaptorInterfaces<org::greend1::Site_adaptor, sdbus::Properties_adaptor,
                             sdbus::ObjectManager_adaptor>;
using WorkerInterfaces =
    sdbus::AdaptorInterfaces<org::greend1::Worker_adaptor, sdbus::Properties_adaptor,
                             sdbus::ManagedObject_adaptor>;

class SiteObject final : public SiteInterfaces {
 public:
  SiteObject(sdbus::IConnection& connection, Manager& manager, bool own_user_may_change)
      : SiteInterfaces(connection, std::string(bus_path)),
        manager_(manager),
        own_user_may_change_(own_user_may_change) {
    registerAdaptor();
  }
  ~SiteObject() { unregisterAdaptor(); }
  SiteObject(const SiteObject&) = delete;
  SiteObject& operator=(const SiteObject&) = delete;

  void emit_changed() { emitPropertiesChangedSignal(org::greend1::Site_adaptor::INTERFACE_NAME); }

 private:
  /// Who calls, if it may change anything. On the system bus that is root alone: the application
  /// runs as our own user there.
  std::string authorize() {
    const sdbus::Message& call = *getObject().getCurrentlyProcessedMessage();
    const uid_t user = call.getCredsEuid();
    if (user == 0 || (own_user_may_change_ && user == ::geteuid()))
      return fmt::format("uid {} ({})", user, call.getSender());
    log_warning("uid {} ({}) was denied {}", user, call.getSender(), call.getMemberName());
    throw_error("AccessDenied", "only root may change a site; try again with sudo");
  }

  static void refuse_options(const Options& options) {
    if (!options.empty())
      throw_error("InvalidArgument", fmt::format("unknown option \"{}\"", options.begin()->first));
  }

  std::uint32_t Reload(const Options& options) override {
    const std::string caller = authorize();
    refuse_options(options);
    return job_or_throw(manager_.reload(caller));
  }
  std::uint32_t Reexec(const Options& options) override {
    const std::string caller = authorize();
    refuse_options(options);
    return job_or_throw(manager_.reexec(caller));
  }
  std::uint32_t Scale(const std::uint32_t& workers, const Options& options) override {
    const std::string caller = authorize();
    refuse_options(options);
    return job_or_throw(manager_.scale(workers, caller));
  }

  std::string Version() override { return std::string(version); }
  std::string SiteName() override { return manager_.status().site; }
  std::uint32_t MainPID() override { return static_cast<std::uint32_t>(::getpid()); }
  std::string State() override { return std::string(site_state_name(manager_.status().state)); }
  std::string StatusText() override { return manager_.status().status_text; }
  std::string Application() override { return manager_.status().application; }
  std::string ConfigFile() override { return manager_.status().config_file; }
  std::vector<std::string> Listeners() override { return manager_.status().listeners; }
  std::uint64_t Generation() override { return manager_.status().generation; }
  std::uint32_t TargetWorkers() override { return manager_.status().target_workers; }
  std::uint32_t ReadyWorkers() override { return manager_.status().ready_workers; }
  std::uint64_t StartedTimestamp() override { return manager_.status().started_realtime_usec; }
  std::uint64_t LastReloadTimestamp() override {
    return manager_.status().last_reload_realtime_usec;
  }
  std::string LastReloadResult() override { return manager_.status().last_reload_result; }
  std::uint32_t BusyWorkers() override { return manager_.status().busy_workers; }
  std::uint64_t RequestsTotal() override { return manager_.status().requests_total; }
  std::uint64_t WorkerDeathsTotal() override { return manager_.status().worker_deaths_total; }

  Manager& manager_;
  const bool own_user_may_change_;
};

class WorkerObject final : public WorkerInterfaces {
 public:
  WorkerObject(sdbus::IConnection& connection, Manager& manager, std::uint32_t slot)
      : WorkerInterfaces(connection, fmt::format("{}/{}", bus_workers_path, slot)),
        manager_(manager),
        slot_(slot) {
    registerAdaptor();
    emitInterfacesAddedSignal({org::greend1::Worker_adaptor::INTERFACE_NAME});
  }
  ~WorkerObject() {
    try {
      emitInterfacesRemovedSignal({org::greend1::Worker_adaptor::INTERFACE_NAME});
    } catch (const sdbus::Error& error) {
      log_debug("worker object {}: {}", slot_, error.what());  // the connection is being lost
    }
    unregisterAdaptor();
  }
  WorkerObject(const WorkerObject&) = delete;
  WorkerObject& operator=(const WorkerObject&) = delete;

 private:
  WorkerStatus status() const { return manager_.worker(slot_).value_or(WorkerStatus{}); }

  std::uint32_t PID() override { return static_cast<std::uint32_t>(status().pid); }
  std::uint32_t Slot() override { return slot_; }
  std::uint64_t Generation() override { return status().generation; }
  std::uint64_t StartedTimestamp() override { return status().started_realtime_usec; }
  std::string State() override { return status().state; }
  std::string Activity() override { return status().busy_since_usec != 0 ? "busy" : "idle"; }
  std::uint64_t BusySince() override { return status().busy_since_usec; }
  std::uint64_t Requests() override { return status().requests; }
  std::uint32_t Connections() override { return status().connections; }

  Manager& manager_;
  const std::uint32_t slot_;
};

struct EndedJob {
  JobId job;
  JobResult result;
  std::string message;
};
constexpr std::size_t most_unsent = 16;

/// One connection and all that lives on it, gone together: objects first, the connection last.
struct Session {
  std::unique_ptr<sdbus::IConnection> connection;
  std::unique_ptr<SiteObject> site;
  std::map<std::uint32_t, std::unique_ptr<WorkerObject>> workers;
  EventSource timeout;
  EventSource io;
};

class ConnectedManagerBus final : public ManagerBus {
 public:
  ConnectedManagerBus(EventLoop& loop, Manager& manager, std::string site, std::string bus)
      : loop_(loop), manager_(manager), site_(std::move(site)), bus_(std::move(bus)) {
    manager_.set_observer(this);
    connect();
  }
  ~ConnectedManagerBus() override { manager_.set_observer(nullptr); }
  ConnectedManagerBus(const ConnectedManagerBus&) = delete;
  ConnectedManagerBus& operator=(const ConnectedManagerBus&) = delete;

  void job_removed(JobId job, JobResult result, const std::string& message) override {
    // Whoever waits for a job across a lost bus, or a greend that was replaced, hears of it then.
    if (unsent_.size() < most_unsent) unsent_.push_back({job, result, message});
    send_unsent();
  }

  void job_changed(JobId job, const std::string& phase) override {
    guarded([&] { session_->site->emitJobChanged(job, phase); });
  }

  /// Coalesced: a reload changes many things within a moment.
  void site_changed() override {
    if (!session_ || change_pending_) return;
    change_pending_ = true;
    arm(change_timer_, signal_interval_usec, [this] {
      change_pending_ = false;
      guarded([this] { session_->site->emit_changed(); });
    });
  }

  void worker_added(std::uint32_t slot) override {
    guarded([&] {
      session_->workers.insert_or_assign(
          slot, std::make_unique<WorkerObject>(*session_->connection, manager_, slot));
    });
  }

  void worker_removed(std::uint32_t slot) override {
    guarded([&] { session_->workers.erase(slot); });
  }

 private:
  /// Runs what uses the connection; a failure there means the bus is gone, and is dealt with once.
  template <typename Action>
  void guarded(Action action) {
    if (!session_) return;
    try {
      action();
    } catch (const sdbus::Error& error) {
      lost(error.what());
    }
  }

  void send_unsent() {
    guarded([this] {
      for (const EndedJob& one : std::exchange(unsent_, {}))
        session_->site->emitJobRemoved(one.job, std::string(job_result_name(one.result)),
                                       one.message);
    });
  }

  void arm(EventSource& timer, std::uint64_t delay_usec, std::function<void()> callback) {
    auto armed = loop_.add_timer(monotonic_usec() + delay_usec, std::move(callback));
    if (!armed) {
      log_error("{}", armed.error().message());
      return;
    }
    timer = std::move(*armed);
  }

  std::unique_ptr<sdbus::IConnection> open() const {
    if (bus_ == "system") return sdbus::createSystemBusConnection();
    if (bus_ == "user") return sdbus::createSessionBusConnection();
    // Not createSessionBusConnectionWithAddress(): in 1.2 it leaks the connection when it can't be
    // opened, and we try again for ever. The variable is put back: workers inherit the environment.
    const char* before = ::getenv(address_variable);
    const std::optional<std::string> kept =
        before != nullptr ? std::optional(before) : std::nullopt;
    ::setenv(address_variable, bus_.c_str(), 1);
    struct Restore {
      const std::optional<std::string>& value;
      ~Restore() {
        if (value) {
          ::setenv(address_variable, value->c_str(), 1);
        } else {
          ::unsetenv(address_variable);
        }
      }
    } const restore{kept};
    return sdbus::createSessionBusConnection();
  }

  /// Asks first whether the bus answers: what follows waits for it.
  void connect() {
    auto asked = BusPreflight::start(loop_, bus_, [this](const std::string& why) {
      // It is on the stack.
      arm(retry_timer_, 0, [this, why] {
        preflight_.reset();
        if (why.empty()) {
          connect_now();
        } else {
          lost(why);
        }
      });
    });
    if (asked) {
      preflight_ = std::move(*asked);
    } else {
      lost(asked.error().message());
    }
  }

  void connect_now() {
    try {
      auto session = std::make_unique<Session>();
      session->connection = open();
      session->connection->setMethodCallTimeout(call_timeout_usec);
      session->site =
          std::make_unique<SiteObject>(*session->connection, manager_, bus_ != "system");
      for (const WorkerStatus& worker : manager_.workers())
        session->workers.emplace(worker.slot, std::make_unique<WorkerObject>(
                                                  *session->connection, manager_, worker.slot));
      session->connection->requestName(bus_name_of_site(site_));
      session_ = std::move(session);
      attach();
      send_unsent();
    } catch (const sdbus::Error& error) {
      lost(error.what());
      return;
    }
    retry_usec_ = first_retry_usec;
    if (said_unavailable_) log_notice("D-Bus control is available again");
    said_unavailable_ = false;
    log_debug("on the {} bus as {}", bus_, bus_name_of_site(site_));
  }

  /// sd-bus on our loop: what to poll for and until when may change with every message handled.
  void attach() {
    const auto data = session_->connection->getEventLoopPollData();
    auto io = loop_.add_io(data.fd, EPOLLIN, [this](std::uint32_t) { process(); });
    auto timeout = loop_.add_timer(monotonic_usec(), [this] { process(); });
    if (!io || !timeout) throw sdbus::Error("org.greend1.Error.Internal", "the event loop is full");
    session_->io = std::move(*io);
    session_->timeout = std::move(*timeout);
    session_->io.set_prepare([this] {
      guarded([this] {
        const auto now = session_->connection->getEventLoopPollData();
        // poll(2) and epoll(7) agree on these bits.
        session_->io.set_io_events(static_cast<std::uint32_t>(now.events) & (EPOLLIN | EPOLLOUT));
        if (now.timeout_usec == UINT64_MAX) {
          session_->timeout.disarm();
        } else {
          session_->timeout.set_time(now.timeout_usec);
        }
      });
    });
  }

  void process() {
    guarded([this] {
      while (session_ && session_->connection->processPendingRequest()) {
      }
    });
  }

  void lost(const std::string& why) {
    // Said once a time: greenctl will not work, the site does.
    if (!said_unavailable_)
      log_warning("no D-Bus control (serving all the same, trying again): {}", why);
    said_unavailable_ = true;
    change_timer_ = {};
    change_pending_ = false;
    if (!session_) {
      arm_retry();
      return;
    }
    // May be on the stack of one of its own callbacks: torn down in the loop's next turn.
    dying_ = std::move(session_);
    arm(retry_timer_, 0, [this] {
      dying_.reset();
      arm_retry();
    });
  }

  void arm_retry() {
    // Its own callback is running: a new timer replaces it.
    arm(retry_timer_, retry_usec_, [this] { connect(); });
    retry_usec_ = std::min(retry_usec_ * 2, longest_retry_usec);
  }

  EventLoop& loop_;
  Manager& manager_;
  const std::string site_;
  const std::string bus_;
  std::unique_ptr<Session> session_;
  std::unique_ptr<Session> dying_;
  std::vector<EndedJob> unsent_;
  std::unique_ptr<BusPreflight> preflight_;
  EventSource retry_timer_;
  EventSource change_timer_;
  bool change_pending_ = false;
  bool said_unavailable_ = false;
  std::uint64_t retry_usec_ = first_retry_usec;
};

}  // namespace

std::unique_ptr<ManagerBus> ManagerBus::create(EventLoop& loop, Manager& manager, std::string site,
                                               std::string bus) {
  return std::make_unique<ConnectedManagerBus>(loop, manager, std::move(site), std::move(bus));
}

}  // namespace green::manager
