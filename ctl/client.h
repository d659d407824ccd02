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
  std::string version, site, state, status_text, application, config_file, last_reload_result;
  std::vector<std::string> listeners;
  std::uint32_t main_pid = 0, target_workers = 0, ready_workers = 0, busy_workers = 0;
  std::uint64_t generation = 0, requests = 0, worker_deaths = 0;
  std::uint64_t started_usec = 0, last_reload_usec = 0;  ///< CLOCK_REALTIME; 0: never
};

/// Properties of org.greend1.Worker.
struct WorkerStatus {
  std::uint32_t slot = 0, pid = 0, connections = 0;
  std::uint64_t generation = 0, requests = 0;
  std::uint64_t started_usec = 0;     ///< CLOCK_REALTIME
  std::uint64_t busy_since_usec = 0;  ///< CLOCK_MONOTONIC; 0: not busy
  std::string state, activity;
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
  /// `bus`: "system", "user" or a D-Bus address.
  static Outcome<Client> connect(std::string_view bus);
  Client(Client&&) noexcept;
  Client& operator=(Client&&) noexcept;
  ~Client();

  /// Sites that own their name on this bus, sorted.
  Outcome<std::vector<std::string>> running_sites();
  Outcome<SiteStatus> status(const std::string& site);
  /// Sorted by slot.
  Outcome<std::vector<WorkerStatus>> workers(const std::string& site);
  Outcome<JobOutcome> reload(const std::string& site, const JobWait& wait);
  /// Goes on while the site's greend is replaced.
  Outcome<JobOutcome> reexec(const std::string& site, const JobWait& wait);
  Outcome<JobOutcome> scale(const std::string& site, std::uint32_t workers, const JobWait& wait);

 private:
  struct Bus;
  explicit Client(std::unique_ptr<Bus> bus);
  std::unique_ptr<Bus> bus_;
};

}  // namespace green::ctl
