// Long, and one file because no other of greend may include sdbus-c++.
#include "daemon/manager/manager_bus.h"

#include <fcntl.h>
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
#include "common/text.h"
#include "daemon/manager/authority.h"
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

sdbus::Error make_error(std::string_view name, const std::string& message) {
  return {fmt::format("{}{}", bus_error_prefix, name), message};
}

sdbus::Error error_of(const Error& error) {
  return make_error(error.code() == ErrorCode::configuration ? "InvalidArgument"
                    : error.code() == ErrorCode::unavailable ? "Unavailable"
                                                             : "Stopping",
                    error.message());
}

/// sdbus-c++ shows neither a message's flags nor the message.
struct MessageAccess : sdbus::Message {
  static sd_bus_message* of(const sdbus::Message& message) {
    return static_cast<sd_bus_message*>(message.*(&MessageAccess::msg_));
  }
};

template <typename Value>
void reply(const sdbus::Result<Value>& result, const Result<Value>& value) {
  if (value)
    result.returnResults(*value);
  else
    result.returnError(error_of(value.error()));
}

using SiteInterfaces =
    sdbus::AdaptorInterfaces<org::greend1::Site_adaptor, sdbus::Properties_adaptor,
                             sdbus::ObjectManager_adaptor>;
using WorkerInterfaces =
    sdbus::AdaptorInterfaces<org::greend1::Worker_adaptor, sdbus::Properties_adaptor,
                             sdbus::ManagedObject_adaptor>;

class SiteObject final : public SiteInterfaces {
 public:
  SiteObject(sdbus::IConnection& connection, Manager& manager, Authority& authority)
      : SiteInterfaces(connection, std::string(bus_path)),
        manager_(manager),
        authority_(authority) {
    registerAdaptor();
  }
  ~SiteObject() { unregisterAdaptor(); }
  SiteObject(const SiteObject&) = delete;
  SiteObject& operator=(const SiteObject&) = delete;

  void emit_changed() { emitPropertiesChangedSignal(org::greend1::Site_adaptor::INTERFACE_NAME); }

 private:
  AccessQuestion question(Access access, const char* action) const {
    const sdbus::Message& call = *getObject().getCurrentlyProcessedMessage();
    return {.access = access,
            .sender = call.getSender(),
            .member = call.getMemberName(),
            .action = action,
            .may_ask_user =
                sd_bus_message_get_allow_interactive_authorization(MessageAccess::of(call)) > 0};
  }

  /// Calls `act` with who asks, once that is allowed, and answers for it. `act` answers if it
  /// returns nothing, else its value is the answer.
  template <typename Value, typename Act>
  void authorized(AccessQuestion asked, sdbus::Result<Value>&& result, const Options& options,
                  Act act) {
    if (!options.empty())
      return result.returnError(
          make_error("InvalidArgument",
                     fmt::format("unknown option \"{}\"", printable(options.begin()->first))));
    // shared: a std::function must be copyable.
    auto answer = std::make_shared<sdbus::Result<Value>>(std::move(result));
    authority_.ask(std::move(asked), [answer, act = std::move(act)](const Verdict& verdict) {
      try {
        if (verdict.is_allowed)
          act(answer, verdict.who);
        else
          answer->returnError(make_error("AccessDenied", verdict.reason));
      } catch (const sdbus::Error& error) {
        log_debug("an answer could not be sent: {}", error.what());  // the connection is being lost
      }
    });
  }

  template <typename Act>
  void change(const char* action, sdbus::Result<std::uint32_t>&& result, const Options& options,
              Act act) {
    authorized(question(Access::change, action), std::move(result), options,
               [act = std::move(act)](const auto& answer, const std::string& who) {
                 reply(*answer, act(who));
               });
  }

  void Reload(sdbus::Result<std::uint32_t>&& result, Options options) override {
    change("org.greend1.manage-code", std::move(result), options,
           [this](const std::string& who) { return manager_.reload(who); });
  }
  void Reexec(sdbus::Result<std::uint32_t>&& result, Options options) override {
    change("org.greend1.manage-daemon", std::move(result), options,
           [this](const std::string& who) { return manager_.reexec(who); });
  }
  void Scale(sdbus::Result<std::uint32_t>&& result, std::uint32_t workers,
             Options options) override {
    change("org.greend1.manage-workers", std::move(result), options,
           [this, workers](const std::string& who) { return manager_.scale(workers, who); });
  }
  void Recycle(sdbus::Result<std::uint32_t>&& result, std::uint32_t pid, Options options) override {
    change("org.greend1.manage-workers", std::move(result), options,
           [this, pid](const std::string& who) {
             return manager_.recycle(static_cast<pid_t>(pid), who);
           });
  }
  void Drain(sdbus::Result<std::uint32_t>&& result, Options options) override {
    change("org.greend1.manage-traffic", std::move(result), options,
           [this](const std::string& who) { return manager_.drain(who); });
  }
  void Undrain(sdbus::Result<std::uint32_t>&& result, Options options) override {
    change("org.greend1.manage-traffic", std::move(result), options,
           [this](const std::string& who) { return manager_.undrain(who); });
  }

  using RequestRow = sdbus::Struct<std::uint32_t, std::uint32_t, std::uint64_t, std::uint64_t,
                                   std::uint32_t, std::string, std::string, std::string>;
  void ListRequests(sdbus::Result<std::vector<RequestRow>>&& result, Options options) override {
    const auto found = options.find("all");
    if (found != options.end() && !found->second.containsValueOfType<bool>())
      return result.returnError(make_error("InvalidArgument", "all: must be a boolean"));
    const bool all = found != options.end() && found->second.get<bool>();
    options.erase("all");
    authorized(question(Access::inspect, ""), std::move(result), options,
               [this, all](const auto& answer, const std::string&) {
                 if (!all) return reply_with_requests(*answer, manager_.requests());
                 const std::weak_ptr<bool> here = here_;
                 manager_.ask_requests([answer, here](const std::vector<RequestStatus>& requests) {
                   if (!here.expired()) reply_with_requests(*answer, requests);
                 });
               });
  }
  static void reply_with_requests(const sdbus::Result<std::vector<RequestRow>>& answer,
                                  const std::vector<RequestStatus>& requests) {
    std::vector<RequestRow> rows;
    for (const RequestStatus& one : requests)
      rows.push_back({one.slot, static_cast<std::uint32_t>(one.pid), one.generation, one.since_usec,
                      one.count, one.request, one.client, one.state});
    send_answer([&] { answer.returnResults(rows); });
  }
  void Backtrace(sdbus::Result<sdbus::UnixFd>&& result, std::uint32_t pid,
                 Options options) override {
    authorized(question(Access::inspect, ""), std::move(result), options,
               [this, pid](const auto& answer, const std::string& who) {
                 log_info("stacks of process {} asked by {}", pid, who);
                 const std::weak_ptr<bool> here = here_;
                 manager_.ask_stacks(static_cast<pid_t>(pid),
                                     [answer, here](const Result<Fd>& file) {
                                       if (!here.expired()) reply_with_file(*answer, file);
                                     });
               });
  }
  void DescribeSettings(sdbus::Result<std::string>&& result, std::string which,
                        Options options) override {
    authorized(
        question(Access::inspect, ""), std::move(result), options,
        [this, which](const auto& answer, const std::string&) {
          if (which == "running" || which == "disk")
            reply(*answer, manager_.describe_settings(which == "running"));
          else
            answer->returnError(make_error("InvalidArgument", "which: must be running or disk"));
        });
  }
  static void reply_with_file(const sdbus::Result<sdbus::UnixFd>& answer, const Result<Fd>& file) {
    send_answer([&] {
      if (file)
        answer.returnResults(sdbus::UnixFd(file->get()));
      else
        answer.returnError(error_of(file.error()));
    });
  }
  /// Later than the call: there may be nobody any more.
  template <typename Send>
  static void send_answer(Send send) {
    try {
      send();
    } catch (const sdbus::Error& error) {
      log_debug("an answer could not be sent: {}", error.what());  // the connection is being lost
    }
  }

  std::string Version() override { return std::string(version); }
  std::string SiteName() override { return manager_.status().site; }
  std::uint32_t MainPID() override { return static_cast<std::uint32_t>(::getpid()); }
  std::string State() override { return std::string(site_state_name(manager_.status().state)); }
  std::string StatusText() override { return manager_.status().status_text; }
  std::string Application() override { return manager_.status().application; }
  std::string ConfigFile() override { return manager_.status().config_file; }
  std::string ConfigHash() override { return manager_.status().config_hash; }
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
  std::uint32_t DrainingWorkers() override { return manager_.status().draining_workers; }
  std::uint64_t UptimeUSec() override {
    return monotonic_usec() - manager_.status().started_monotonic_usec;
  }
  std::uint64_t MonotonicUSec() override { return monotonic_usec(); }
  std::uint64_t RequestsTotal() override { return manager_.status().requests_total; }
  std::uint64_t WorkerDeathsTotal() override { return manager_.status().worker_deaths_total; }

  Manager& manager_;
  Authority& authority_;
  /// Stacks may come when the connection they were asked on is gone.
  const std::shared_ptr<bool> here_ = std::make_shared<bool>();
};

/// org.freedesktop.LogControl1(5), by which systemctl service-log-level steers the log of greend
/// and its workers.
class LogControl {
 public:
  LogControl(sdbus::IConnection& connection, Manager& manager)
      : manager_(manager),
        object_(sdbus::createObject(connection, "/org/freedesktop/LogControl1")) {
    constexpr const char* interface = "org.freedesktop.LogControl1";
    object_->registerProperty("LogLevel")
        .onInterface(interface)
        .withGetter([] { return syslog_name(log_level()); })
        .withSetter([this](const std::string& name) { set_level(name); })
        .withUpdateBehavior(sdbus::Flags::EMITS_NO_SIGNAL);
    object_->registerProperty("LogTarget")
        .onInterface(interface)
        .withGetter([] { return std::string(log_is_journal() ? "journal" : "console"); })
        .withSetter([](const std::string& target) {
          if (target != "auto" && target != (log_is_journal() ? "journal" : "console"))
            throw sdbus::Error("org.freedesktop.DBus.Error.InvalidArgs",
                               "greend logs where it was started to");
        })
        .withUpdateBehavior(sdbus::Flags::EMITS_NO_SIGNAL);
    object_->registerProperty("SyslogIdentifier")
        .onInterface(interface)
        .withGetter([] { return std::string("greend"); })
        .withUpdateBehavior(sdbus::Flags::CONST_PROPERTY_VALUE);
    object_->finishRegistration();
  }

 private:
  static std::string syslog_name(LogLevel level) {
    return level == LogLevel::error ? "err" : std::string(log_level_name(level));
  }
  void set_level(const std::string& name) {
    const sdbus::Message* const call = object_->getCurrentlyProcessedMessage();
    const uid_t user = call != nullptr ? call->getCredsEuid() : ~0U;
    if (user != 0)
      throw sdbus::Error("org.freedesktop.DBus.Error.AccessDenied",
                         "only root may change the log level; try again with sudo");
    // Those that this log does not know are its nearest.
    const std::string known =
        name == "emerg" || name == "alert" || name == "crit" || name == "err" ? "error" : name;
    const auto level = log_level_from_name(known);
    if (!level || name == "error")
      throw sdbus::Error("org.freedesktop.DBus.Error.InvalidArgs",
                         fmt::format("\"{}\" is no log level", printable(name)));
    manager_.set_log_level(*level);
    log_notice("log level {} set by uid {}, process {}", name, user, call->getCredsPid());
  }

  Manager& manager_;
  std::unique_ptr<sdbus::IObject> object_;
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
  std::uint32_t RequestsInFlight() override { return status().in_flight; }
  std::uint64_t MemoryRSS() override { return manager_.usage(status().pid).rss_bytes; }
  std::uint64_t MemoryPSS() override { return manager_.usage(status().pid).pss_bytes; }
  std::uint64_t CPUUsageNSec() override { return manager_.usage(status().pid).cpu_nsec; }

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
  std::unique_ptr<LogControl> log_control;
  std::unique_ptr<SiteObject> site;
  std::map<std::uint32_t, std::unique_ptr<WorkerObject>> workers;
  EventSource timeout;
  EventSource io;
  /// Gone first: it holds answers that were not given.
  std::unique_ptr<Authority> authority;
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
      session->authority = std::make_unique<Authority>(loop_, bus_, site_);
      session->log_control = std::make_unique<LogControl>(*session->connection, manager_);
      session->site =
          std::make_unique<SiteObject>(*session->connection, manager_, *session->authority);
      for (const WorkerStatus& worker : manager_.workers())
        session->workers.emplace(worker.slot, std::make_unique<WorkerObject>(
                                                  *session->connection, manager_, worker.slot));
      request_name(*session->connection);
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

  /// A name that somebody else has is worth more words: who steers that steers another site.
  void request_name(sdbus::IConnection& connection) const {
    const std::string name = bus_name_of_site(site_);
    try {
      connection.requestName(name);
    } catch (const sdbus::Error& error) {
      auto bus = sdbus::createProxy(connection, "org.freedesktop.DBus", "/org/freedesktop/DBus");
      std::uint32_t user = 0;
      std::uint32_t process = 0;
      bus->callMethod("GetConnectionUnixUser")
          .onInterface("org.freedesktop.DBus")
          .withArguments(name)
          .storeResultsTo(user);
      bus->callMethod("GetConnectionUnixProcessID")
          .onInterface("org.freedesktop.DBus")
          .withArguments(name)
          .storeResultsTo(process);
      throw sdbus::Error(error.getName(),
                         fmt::format("the name {} is taken by uid {}, process {}: end that process "
                                     "if it is not this site's",
                                     name, user, process));
    }
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
