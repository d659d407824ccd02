// A private bus and a greend that only plays one, for tests of greenctl's end of the bus.
#pragma once

#include <fcntl.h>
#include <org_greend1_adaptor.h>
#include <sdbus-c++/sdbus-c++.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "common/names.h"
#include "common/worker_channel.h"

namespace green::ctl {

class PrivateBus {
 public:
  PrivateBus() {
    int ends[2];
    if (::pipe(ends) != 0) throw std::runtime_error("pipe");
    const std::string print = "--print-address=" + std::to_string(ends[1]);
    const char* const arguments[] = {"dbus-daemon", "--session",   "--nofork",
                                     "--nosyslog",  print.c_str(), nullptr};
    // Not root's privilege to raise limits is no news: it would stand in every test's output.
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    const int failed = ::posix_spawnp(&pid_, arguments[0], &actions, nullptr,
                                      const_cast<char* const*>(arguments), environ);
    ::posix_spawn_file_actions_destroy(&actions);
    if (failed != 0) throw std::runtime_error("dbus-daemon does not start");
    ::close(ends[1]);
    char character = 0;
    while (::read(ends[0], &character, 1) == 1 && character != '\n') address_ += character;
    ::close(ends[0]);
  }
  ~PrivateBus() { stop(); }
  PrivateBus(const PrivateBus&) = delete;
  PrivateBus& operator=(const PrivateBus&) = delete;

  void stop() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    // What it would have done itself: "unix:path=/tmp/dbus-…,guid=…".
    if (const auto at = address_.find("path="); at != std::string::npos)
      ::unlink(address_.substr(at + 5, address_.find(',') - at - 5).c_str());
    pid_ = -1;
  }
  const std::string& address() const { return address_; }

 private:
  pid_t pid_ = -1;
  std::string address_;
};

class FakeWorker final
    : public sdbus::AdaptorInterfaces<org::greend1::Worker_adaptor, sdbus::ManagedObject_adaptor> {
 public:
  FakeWorker(sdbus::IConnection& connection, std::uint32_t slot)
      : AdaptorInterfaces(connection, std::string(bus_workers_path) + "/" + std::to_string(slot)),
        slot_(slot) {
    registerAdaptor();
  }
  ~FakeWorker() { unregisterAdaptor(); }

 private:
  std::uint32_t PID() override { return 1000 + slot_; }
  std::uint32_t Slot() override { return slot_; }
  std::uint64_t Generation() override { return 3; }
  std::uint64_t StartedTimestamp() override { return 1; }
  std::string State() override { return "serving"; }
  std::string Activity() override { return slot_ == 0 ? "busy" : "idle"; }
  std::uint64_t BusySince() override { return slot_ == 0 ? 1 : 0; }
  std::uint64_t Requests() override { return 100 * slot_; }
  std::uint32_t Connections() override { return slot_; }
  std::uint32_t RequestsInFlight() override { return slot_ == 0 ? 1 : 0; }
  std::uint64_t MemoryRSS() override { return 3 << 20; }
  std::uint64_t MemoryPSS() override { return 0; }
  std::uint64_t CPUUsageNSec() override { return 2'000'000'000; }
  std::uint32_t slot_;
};

class FakeSite final
    : public sdbus::AdaptorInterfaces<org::greend1::Site_adaptor, sdbus::ObjectManager_adaptor> {
 public:
  /// What a job does; `job` is its number.
  using Job = std::function<void(FakeSite&, std::uint32_t job)>;

  static std::unique_ptr<FakeSite> start(const PrivateBus& bus, const std::string& site,
                                         Job job = ends_well()) {
    auto connection = sdbus::createSessionBusConnectionWithAddress(bus.address());
    auto fake = std::make_unique<FakeSite>(std::move(connection), site, std::move(job));
    fake->connection_->requestName(bus_name_of_site(site));
    fake->run();
    return fake;
  }
  FakeSite(std::unique_ptr<sdbus::IConnection> connection, std::string site, Job job)
      : AdaptorInterfaces(*connection, std::string(bus_path)),
        connection_(std::move(connection)),
        site_(std::move(site)),
        job_(std::move(job)) {
    registerAdaptor();
    // Out of order, and more than nine: greenctl sorts by number.
    for (const std::uint32_t slot : {10U, 0U, 2U})
      workers_.push_back(std::make_unique<FakeWorker>(*connection_, slot));
  }
  ~FakeSite() {
    connection_->leaveEventLoop();
    thread_.join();
    workers_.clear();
    unregisterAdaptor();
  }

  /// Its ListRequests knows no option.
  std::atomic<bool> is_of_the_first_release = false;

  static Job ends(std::string result, std::string message) {
    // Before the reply that tells the job's number: the hardest order for a client.
    return [=](FakeSite& site, std::uint32_t job) { site.emitJobRemoved(job, result, message); };
  }
  /// Tells of phases, its own and another job's, and ends well.
  static Job passes(std::vector<std::string> phases) {
    return [=](FakeSite& site, std::uint32_t job) {
      site.emitJobChanged(job + 1, "another's phase");
      for (const std::string& phase : phases) site.emitJobChanged(job, phase);
      site.emitJobRemoved(job, "done", "generation 2 serves");
    };
  }
  /// Leaves the bus's name for a moment, as a greend does that is replaced, and ends well or not at
  /// all.
  static Job is_replaced(bool comes_back = true) {
    return [=](FakeSite& site, std::uint32_t job) {
      site.connection().releaseName(bus_name_of_site(site.site_));
      if (!comes_back) return;
      site.connection().requestName(bus_name_of_site(site.site_));
      site.emitJobRemoved(job, "done", "taken over");
    };
  }
  static Job ends_well() { return ends("done", ""); }

  sdbus::IConnection& connection() { return *connection_; }
  std::uint32_t scaled_to = 0;
  std::uint32_t recycled_pid = ~0U;
  std::string state = "serving", application = "example:app";

 private:
  using Options = std::map<std::string, sdbus::Variant>;
  using JobNumber = sdbus::Result<std::uint32_t>;
  using Rows = std::vector<sdbus::Struct<std::uint32_t, std::uint32_t, std::uint64_t, std::uint64_t,
                                         std::uint32_t, std::string, std::string, std::string>>;
  void Reload(JobNumber&& result, Options) override { start_job(result); }
  void Reexec(JobNumber&& result, Options) override { start_job(result); }
  void Scale(JobNumber&& result, std::uint32_t workers, Options) override {
    scaled_to = workers;
    start_job(result);
  }
  void Recycle(JobNumber&& result, std::uint32_t pid, Options) override {
    recycled_pid = pid;
    start_job(result);
  }
  void Drain(JobNumber&& result, Options) override { start_job(result); }
  void Undrain(JobNumber&& result, Options) override { start_job(result); }
  void ListRequests(sdbus::Result<Rows>&& result, Options options) override {
    Rows rows{{0U, 1000U, 3UL, 1UL, 1U, "GET /stuck", "192.0.2.1", "running"},
              {2U, 1002U, 3UL, 0UL, 2U, "POST /form", "", "replying"}};
    if (!options.empty() && is_of_the_first_release)
      return result.returnError(
          sdbus::Error("org.greend1.Error.InvalidArgument", "unknown option \"all\""));
    if (!options.empty())
      rows = {{0U, 1000U, 3UL, 1UL, 1U, "GET /stuck", "192.0.2.1", "running"},
              {0U, 1000U, 3UL, 0UL, 744U, "", "", "more"},
              {2U, 1002U, 3UL, 2UL, 12U, "POST /form", "", "unanswered"},
              {10U, 1010U, 3UL, 3UL, 1U, "GET /chat", "", "websocket"}};
    result.returnResults(rows);
  }
  void Backtrace(sdbus::Result<sdbus::UnixFd>&& result, std::uint32_t pid, Options) override {
    if (pid == 1002)
      return result.returnError(
          sdbus::Error("org.greend1.Error.Unavailable", "it is stopped (state T)"));
    const auto text = make_text_memfd("stacks", "  File \"app.py\", line 7 in view\n");
    result.returnResults(sdbus::UnixFd(text->get()));
  }
  void DescribeSettings(sdbus::Result<std::string>&& result, std::string which, Options) override {
    result.returnResults(which == "running" ? "workers = 2  # default\nbind = [\"a\"]  # default\n"
                                            : "workers = 4  # /etc/green/site.toml:1\n"
                                              "bind = [\"b\"]  # /etc/green/site.toml:2\n");
  }
  void run() {
    thread_ = std::thread([this] {
      try {
        connection_->enterEventLoop();
      } catch (const sdbus::Error&) {
        // The bus was stopped: some tests do that.
      }
    });
  }
  void start_job(const JobNumber& result) {
    emitJobRemoved(next_job_ + 1, "failed", "another's job");
    job_(*this, next_job_);
    result.returnResults(next_job_++);
  }
  std::string Version() override { return "9.8.7"; }
  std::string SiteName() override { return site_; }
  std::uint32_t MainPID() override { return 4711; }
  std::string State() override { return state; }
  std::string StatusText() override { return "generation 3: 4 workers ready"; }
  std::string Application() override { return application; }
  std::string ConfigFile() override { return "/etc/green/site.toml"; }
  std::vector<std::string> Listeners() override {
    return {"unix:/run/green/site.sock", "127.0.0.1:8000"};
  }
  std::uint64_t Generation() override { return 3; }
  std::uint32_t TargetWorkers() override { return 4; }
  std::uint32_t ReadyWorkers() override { return 4; }
  std::uint64_t StartedTimestamp() override { return 1'000'000'000'000'000; }
  std::uint64_t LastReloadTimestamp() override { return 1'000'000'000'000'000; }
  std::string LastReloadResult() override { return "done"; }
  std::uint32_t BusyWorkers() override { return 1; }
  std::uint32_t DrainingWorkers() override { return 0; }
  std::uint64_t UptimeUSec() override { return 1; }
  std::uint64_t MonotonicUSec() override { return 1; }
  std::string ConfigHash() override { return "0123456789abcdef"; }
  std::uint64_t RequestsTotal() override { return 1234; }
  std::uint64_t WorkerDeathsTotal() override { return 0; }

  std::unique_ptr<sdbus::IConnection> connection_;
  std::string site_;
  Job job_;
  std::uint32_t next_job_ = 7;
  std::thread thread_;
  std::vector<std::unique_ptr<FakeWorker>> workers_;
};

}  // namespace green::ctl
