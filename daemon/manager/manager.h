// Manager: greend's decisions. Which generation serves, when a reload switches or rolls back, how
// many workers, what a failure means, when to exit. greend's thread. No bus, no notify protocol of
// its own.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/settings.h"
#include "daemon/manager/children.h"
#include "daemon/manager/event_loop.h"
#include "daemon/manager/failed_starts.h"
#include "daemon/manager/generation.h"
#include "daemon/manager/listen_fds.h"
#include "daemon/manager/process_usage.h"
#include "daemon/manager/reexec_state.h"
#include "daemon/manager/service_notify.h"
#include "daemon/manager/successor.h"

namespace green::manager {

enum class SiteState { starting, serving, reloading, drained, stopping };
std::string_view site_state_name(SiteState state);

enum class JobResult { done, failed, cancelled };
std::string_view job_result_name(JobResult result);

using JobId = std::uint32_t;

/// Told of what changes; implemented by the bus. Must not call back into changes.
class ManagerObserver {
 public:
  virtual ~ManagerObserver() = default;
  virtual void job_removed(JobId job, JobResult result, const std::string& message) = 0;
  /// `phase`: what the job is doing now, "importing app:app".
  virtual void job_changed(JobId job, const std::string& phase) = 0;
  virtual void site_changed() = 0;
  virtual void worker_added(std::uint32_t slot) = 0;
  virtual void worker_removed(std::uint32_t slot) = 0;
};

struct WorkerStatus {
  std::uint32_t slot = 0;
  pid_t pid = 0;
  std::uint64_t generation = 0;
  std::string state;
  std::uint64_t started_realtime_usec = 0;
  std::uint64_t busy_since_usec = 0;  ///< CLOCK_MONOTONIC; 0: idle
  std::uint64_t requests = 0;
  std::uint32_t connections = 0;
  std::uint32_t in_flight = 0;
};

/// What a worker is answering: a request of its own, or several.
struct RequestStatus {
  std::uint32_t slot = 0;
  pid_t pid = 0;
  std::uint64_t generation = 0;
  std::uint64_t since_usec = 0;  ///< CLOCK_MONOTONIC; 0: the application has answered it
  std::uint32_t count = 0;       ///< 1, or how many it has; what follows is of the latest
  std::string request{};         ///< "GET /report"
  std::string client{};
  /// "running" or "replying"; by ask_requests() a request_state_name(), "more" for those of a
  /// worker that are not listed, or "unanswered" where it did not answer.
  std::string state{};
};

struct SiteStatus {
  std::string site;
  SiteState state = SiteState::starting;
  std::string status_text;
  std::string application;
  std::string config_file;
  std::string config_hash;
  std::vector<std::string> listeners;
  std::uint64_t generation = 0;  ///< the serving one; 0: none yet
  std::uint32_t target_workers = 0;
  std::uint32_t ready_workers = 0;
  std::uint32_t busy_workers = 0;
  std::uint32_t draining_workers = 0;
  std::uint64_t requests_total = 0;
  std::uint64_t worker_deaths_total = 0;
  std::uint64_t started_realtime_usec = 0;
  std::uint64_t started_monotonic_usec = 0;
  std::uint64_t last_reload_realtime_usec = 0;
  std::string last_reload_result;  ///< "", "done", "failed"
};

struct ManagerOptions {
  std::string site;
  SettingSources sources;  ///< read again at every reload
  LoadedSettings initial;
  std::string worker_program;             ///< green-worker's path
  Successor* successor = nullptr;         ///< borrowed; nullptr: reexec() is an error
  FailedStarts* failed_starts = nullptr;  ///< borrowed; forgotten once the site serves
  bool binds = true;  ///< false: systemd passed the sockets, and `bind` says nothing
};

class Manager final : private GenerationObserver {
 public:
  /// `listeners` are borrowed: the caller keeps them until the manager is gone.
  static Result<std::unique_ptr<Manager>> create(EventLoop& loop, Children& children,
                                                 ServiceNotify& notify,
                                                 const std::vector<Listener>& listeners,
                                                 ManagerOptions options);
  ~Manager();
  Manager(const Manager&) = delete;
  Manager& operator=(const Manager&) = delete;

  /// Starts generation 1. The loop exits with 78 or 1 if it fails (see exit_reason()).
  Result<void> start();

  /// Starts a reload, or joins the one that waits; the observer hears of its end.
  Result<JobId> reload(std::string_view asked_by);
  /// Errors: out of bounds (ErrorCode::configuration), stopping (ErrorCode::busy).
  Result<JobId> scale(std::uint32_t workers, std::string_view asked_by);
  /// Replaces greend by the binary that lies on disk now, in this process, then the workers as a
  /// reload does. A binary that can't take over fails the job, and this greend goes on. Joins one
  /// that is under way.
  Result<JobId> reexec(std::string_view asked_by);
  /// Replaces the worker of `pid`, or with 0 all that serve, one after the other.
  Result<JobId> recycle(pid_t pid, std::string_view asked_by);
  /// Lets every worker finish what it has; what comes waits in the sockets until undrain().
  Result<JobId> drain(std::string_view asked_by);
  Result<JobId> undrain(std::string_view asked_by);
  /// Calls back once, later, with a memfd of the worker's Python stacks, or with why there are
  /// none.
  void ask_stacks(pid_t pid, std::function<void(Result<Fd>)> done);
  /// In the successor: takes over what `saved` names, as create() and start() make anew.
  static Result<std::unique_ptr<Manager>> resume(EventLoop& loop, Children& children,
                                                 ServiceNotify& notify,
                                                 const std::vector<Listener>& listeners,
                                                 ManagerOptions options, const SavedState& saved);
  /// The rest of the successor's job: its workers.
  void reload_after_reexec();

  /// Drains everything, then the loop exits with 0.
  void stop_gracefully();
  /// Kills everything; the loop exits with 0.
  void stop_now();

  SiteStatus status() const;
  std::vector<WorkerStatus> workers() const;
  std::optional<WorkerStatus> worker(std::uint32_t slot) const;
  /// By the scoreboard, at once: of each worker that answers any, the latest.
  std::vector<RequestStatus> requests() const;
  /// By the workers themselves: calls back once, with every request. Of a worker that does not
  /// answer, what the scoreboard says.
  void ask_requests(std::function<void(const std::vector<RequestStatus>&)> done);
  /// Of greend and all its processes, until a reload brings the settings' own again.
  void set_log_level(LogLevel level);
  Usage usage(pid_t pid);
  /// The settings that run, or those a reload would take, for people: secrets are masked.
  Result<std::string> describe_settings(bool running) const;
  void set_observer(ManagerObserver* observer) { observer_ = observer; }
  /// Why the start failed: text for whoever waits.
  const std::string& exit_reason() const { return exit_reason_; }

 private:
  struct ScaleJob {
    JobId id;
    std::uint32_t workers;
  };
  struct RecycleJob {
    JobId id;
    std::vector<pid_t> pids;
  };

  Manager(EventLoop& loop, Children& children, ServiceNotify& notify,
          const std::vector<Listener>& listeners, ManagerOptions options, Scoreboard scoreboard);

  // GenerationObserver
  void generation_ready(Generation& generation) override;
  void generation_failed(Generation& generation, StartFailure kind, std::string text) override;
  void zygote_lost(Generation& generation, const std::string& how) override;
  void worker_added(Generation& generation, std::uint32_t slot) override;
  void worker_removed(Generation& generation, std::uint32_t slot) override;
  void generation_changed(Generation& generation) override;
  void generation_gone(Generation& generation) override;

  // manager_reload.cpp
  void begin_reload();
  void note_changes(Settings& settings);
  void begin_waiting_reload();
  void finish_reload(JobResult result, const std::string& message);
  void switch_to_candidate();
  void report_progress(const std::string& phase);
  Result<void> refuse_while_drained() const;
  /// Another generation, where the zygote ended: then or later, the more often the later.
  void respawn_after(std::uint64_t least_delay_usec);
  void finish_scale_if_settled();
  void end_job(JobId job, JobResult result, std::string message);

  // manager_traffic.cpp
  void finish_traffic_jobs();
  void cancel_traffic_jobs(const std::string& why);
  /// Nor is one being started.
  Result<void> refuse_without_zygote() const;
  void fail_jobs_without_zygote(const std::string& why);
  /// Those that wait for workers of a serving generation whose workers do not get ready.
  void fail_hopeless_jobs();

  // manager_rolling.cpp
  void begin_roll();
  void roll();
  void roll_back(const std::string& why);

  // manager_reexec.cpp
  void check_successor();
  void continue_reexec();
  void fail_reexec(const std::string& why);
  bool can_be_saved() const;
  SavedState save() const;
  Result<void> take_over(const SavedState& saved);

  Result<void> start_ticking();
  GenerationContext generation_context();
  void exit_failed(int status, const std::string& reason);
  void retire(std::unique_ptr<Generation> generation);
  void exit_when_empty();
  void tick();
  void extend_start_timeout();
  bool progress_is_made(std::uint64_t now_usec) const;
  void update_status();
  std::string status_line() const;
  WorkerStatus status_of(const Generation& generation, const WorkerProcess& worker) const;
  WorkerProcess* find_worker(pid_t pid) const;
  // manager_requests.cpp
  static void add_answered(const WorkerStatus& worker, const RequestList& list,
                           std::vector<RequestStatus>& all);
  static void add_rest(const WorkerStatus& worker, std::uint64_t count,
                       std::vector<RequestStatus>& all);
  /// Of one whose loop is held up by a call.
  void add_call(const WorkerStatus& worker, std::vector<RequestStatus>& all) const;
  void add_unanswered(const WorkerStatus& worker, std::vector<RequestStatus>& all) const;
  void for_each_generation(const std::function<void(const Generation&)>& visit) const;

  EventLoop& loop_;
  Children& children_;
  ServiceNotify& notify_;
  const std::vector<Listener>& listeners_;
  std::vector<int> listener_fds_;
  std::vector<std::string> listener_addresses_;
  ManagerOptions options_;
  Scoreboard scoreboard_;
  SlotPool slots_;
  OomKills oom_kills_ = OomKills::of_this_process();
  RequestSurvey survey_;
  ManagerObserver* observer_ = nullptr;

  LoadedSettings current_;  ///< of the serving generation, or of the first start
  LoadedSettings candidate_settings_;
  std::string change_note_;  ///< which settings the reload under way changes, and which it can't
  std::uint32_t target_workers_ = 0;
  std::uint64_t last_number_ = 0;
  std::unique_ptr<Generation> serving_;
  std::unique_ptr<Generation> candidate_;
  std::vector<std::unique_ptr<Generation>> retired_;  ///< draining
  EventSource bury_;

  bool rolling_ = false;  ///< candidate_ serves too, and takes over worker by worker
  std::uint32_t workers_before_roll_ = 0;

  bool stopping_ = false;
  std::uint64_t stop_deadline_usec_ = 0;
  JobId last_job_ = 0;
  std::optional<JobId> reload_job_;  ///< of the candidate
  std::string reported_phase_;
  std::optional<JobId> waiting_reload_job_;  ///< runs after it, with what is newer then
  std::optional<ScaleJob> scale_job_;
  bool drained_ = false;            ///< the serving generation keeps no worker
  std::optional<JobId> drain_job_;  ///< or the undrain that came after it
  std::vector<RecycleJob> recycle_jobs_;
  std::optional<JobId> reexec_job_;
  bool successor_is_checked_ = false;
  std::string reexec_note_;  ///< of a greend that took over, until its reload has ended
  EventSource reap_early_;   ///< children that ended while greend was replaced
  std::vector<std::function<void()>> ended_jobs_;
  EventSource report_jobs_;
  RestartBackoff respawn_backoff_;
  EventSource respawn_timer_;

  ProcessUsage usage_;
  EventSource tick_timer_;
  std::uint64_t last_tick_usec_ = 0;
  std::uint64_t last_extension_usec_ = 0;
  std::uint64_t heartbeats_trusted_from_usec_ = 0;
  std::uint64_t last_watchdog_usec_ = 0;
  std::uint64_t started_realtime_usec_ = 0;
  std::uint64_t started_monotonic_usec_ = 0;
  std::uint64_t last_reload_realtime_usec_ = 0;
  std::string last_reload_result_;
  std::uint64_t past_requests_ = 0;
  std::uint64_t past_deaths_ = 0;
  std::string exit_reason_;
};

}  // namespace green::manager
