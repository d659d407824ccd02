// greenctl's end of the bus: what org.greend1 offers, as plain values. client.cpp is the only file
// here that knows sdbus-c++. One thread; calls block.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/duration.h"
#include "ctl/outcome.h"

namespace green::ctl {

/// Properties of org.greend1.Site, read together.
struct SiteStatus {
  std::string version, site, state, status_text, application, config_file, config_hash,
      last_reload_result;
  std::vector<std::string> listeners;
  std::uint32_t main_pid = 0, target_workers = 0, ready_workers = 0, busy_workers = 0,
                draining_workers = 0;
  std::uint64_t generation = 0, requests = 0, worker_deaths = 0;
  std::uint64_t started_usec = 0, last_reload_usec = 0;  ///< CLOCK_REALTIME; 0: never
};

/// Properties of org.greend1.Worker.
struct WorkerStatus {
  std::uint32_t slot = 0, pid = 0, connections = 0;
  std::uint64_t generation = 0, requests = 0;
  std::uint64_t started_usec = 0;     ///< CLOCK_REALTIME
  std::uint64_t busy_since_usec = 0;  ///< CLOCK_MONOTONIC; 0: not busy
  std::uint32_t in_flight = 0;
  std::uint64_t rss_bytes = 0, pss_bytes = 0, cpu_nsec = 0;
  std::string state, activity;
};

/// A row of ListRequests: see org.greend1(5).
struct RequestStatus {
  std::uint32_t slot = 0, pid = 0, count = 0;
  std::uint64_t generation = 0;
  std::uint64_t since_usec = 0;  ///< CLOCK_MONOTONIC; 0: the application has answered it
  std::string request, client, state;
};

/// A unit of systemd's that serves a site.
struct UnitStatus {
  std::string name, active_state, sub_state;
};

/// How long to wait for a job's end.
struct JobWait {
  bool is_wanted = true;
  std::optional<Microseconds> timeout{};
  /// Told what the job is doing, while it is waited for. May be empty.
  std::function<void(const std::string& phase)> on_phase{};
};

struct JobOutcome {
  std::uint32_t job = 0;
  std::string result;   ///< "done", "failed", "cancelled"; empty: not waited for
  std::string message;  ///< one line, or the application's traceback
};

class Client {
 public:
  /// `bus`: "system", "user" or a D-Bus address. `host`: "[user@]host" whose system bus is meant,
  /// by ssh; empty: this one.
  static Outcome<Client> connect(std::string_view bus, const std::string& host = {});
  Client(Client&&) noexcept;
  Client& operator=(Client&&) noexcept;
  ~Client();

  /// Sites that own their name on this bus, sorted.
  Outcome<std::vector<std::string>> running_sites();
  /// Units green@*.service and green@*.socket that systemd has loaded; none where it is not there.
  std::vector<UnitStatus> units();
  /// Who has a site's name on the system bus and is not its unit, in words; empty: nobody.
  Outcome<std::string> find_squatter(const std::string& site);
  /// Refuses such a site.
  Outcome<> verify_owner(const std::string& site);
  /// CLOCK_MONOTONIC of the machine that serves the site; 0: its greend does not tell.
  Outcome<std::uint64_t> monotonic_usec(const std::string& site);
  Outcome<SiteStatus> status(const std::string& site);
  /// Sorted by slot.
  Outcome<std::vector<WorkerStatus>> workers(const std::string& site);
  Outcome<JobOutcome> reload(const std::string& site, const JobWait& wait);
  /// Goes on while the site's greend is replaced.
  Outcome<JobOutcome> reexec(const std::string& site, const JobWait& wait);
  /// Goes on where the site's greend is replaced meanwhile.
  Outcome<JobOutcome> scale(const std::string& site, std::uint32_t workers, const JobWait& wait);
  /// `pid` 0: all workers.
  Outcome<JobOutcome> recycle(const std::string& site, std::uint32_t pid, const JobWait& wait);
  Outcome<JobOutcome> drain(const std::string& site, const JobWait& wait);
  Outcome<JobOutcome> undrain(const std::string& site, const JobWait& wait);
  /// At once: of each worker the latest.
  Outcome<std::vector<RequestStatus>> requests(const std::string& site);
  /// Every request, as the workers say; of a greend that does not know that yet, as requests().
  Outcome<std::vector<RequestStatus>> all_requests(const std::string& site);
  /// Python stacks of a worker, as text.
  Outcome<std::string> backtrace(const std::string& site, std::uint32_t pid);
  /// `which`: "running" or "disk".
  Outcome<std::string> settings(const std::string& site, const std::string& which);
  /// Until something on the bus may have changed, or `limit` has passed.
  Outcome<> wait_for_change(Microseconds limit);

 private:
  struct Bus;
  explicit Client(std::unique_ptr<Bus> bus);
  std::unique_ptr<Bus> bus_;
};

}  // namespace green::ctl
