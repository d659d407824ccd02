// Generation: one import of the application: a zygote and the workers forked from it, kept at a
// wanted number. starting → ready → serving → draining → gone. greend's thread. It knows how; the
// Manager decides when (which generation serves, what a failure means).
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <span>
#include <string>

#include "common/log.h"
#include "common/scoreboard.h"
#include "common/settings.h"
#include "common/worker_spec.h"
#include "daemon/manager/log_limit.h"
#include "daemon/manager/oom_kills.h"
#include "daemon/manager/request_survey.h"
#include "daemon/manager/restart_backoff.h"
#include "daemon/manager/slot_pool.h"
#include "daemon/manager/worker_process.h"

namespace green::manager {

enum class GenerationState { starting, ready, serving, draining, gone };

class Generation;

/// Told from event callbacks: may call any method of the generation, but not destroy it.
class GenerationObserver {
 public:
  /// All wanted workers are set up and the probe, if any, was answered. Once, from `starting`.
  virtual void generation_ready(Generation& generation) = 0;
  /// The start failed; `text` is one line or a traceback. Once, from `starting`.
  virtual void generation_failed(Generation& generation, StartFailure kind, std::string text) = 0;
  /// A serving generation lost its zygote: it can't replace workers any more.
  virtual void zygote_lost(Generation& generation, const std::string& how) = 0;
  virtual void worker_added(Generation& generation, std::uint32_t slot) = 0;
  virtual void worker_removed(Generation& generation, std::uint32_t slot) = 0;
  /// Any change a status line could show.
  virtual void generation_changed(Generation& generation) = 0;
  virtual void generation_gone(Generation& generation) = 0;

 protected:
  ~GenerationObserver() = default;
};

/// What all generations of a manager share. Outlives them.
struct GenerationContext {
  EventLoop& loop;
  Children& children;
  Scoreboard& scoreboard;
  SlotPool& slots;
  OomKills& oom_kills;
  RequestSurvey& survey;
  std::span<const int> listeners;
  std::string site;
  std::string worker_program;
  GenerationObserver& observer;
};

class Generation {
 public:
  Generation(GenerationContext context, std::uint64_t number, Settings settings);
  ~Generation();
  Generation(const Generation&) = delete;
  Generation& operator=(const Generation&) = delete;

  /// Starts the zygote. An error here, or generation_failed() later.
  Result<void> start(std::uint32_t worker_count);
  /// What a successor of this greend needs to go on with it. Precondition: can_be_saved().
  SavedGeneration save() const;
  /// False while it starts, or while a worker is being forked.
  bool can_be_saved() const;
  /// In the successor: takes the zygote and the workers over as they are.
  static Result<std::unique_ptr<Generation>> resume(GenerationContext context,
                                                    const SavedGeneration& saved);
  /// The number of workers to keep (≥ 1): forks the missing, drains the surplus.
  void set_worker_count(std::uint32_t count);
  /// From ready or joined: this generation's workers accept from now on, all others' no longer.
  void serve();
  /// From ready: its workers accept beside those of the generation that serves (rolling reload).
  void join();
  /// It gives up having joined: the generation that served before accepts alone again.
  void part();
  /// Every worker finishes what it has, for graceful_timeout at most; generation_gone() follows.
  /// Again, with a prompt pace: those that drain hurry.
  void drain(DrainPace pace);
  /// SIGKILL to all; generation_gone() follows.
  void kill();
  /// To the zygote and the workers.
  void set_log_level(LogLevel level);
  /// Replaces this worker soon, as one that has reached a limit of its own. False: no such worker
  /// serves.
  bool recycle_worker(pid_t pid);
  /// All was held up for so long: what has a deadline gets that time back.
  void forgive(std::uint64_t usec);
  /// Looks for workers that do not turn, overdue drains and stuck forks. About once a second.
  void check(std::uint64_t now_usec, bool trust_heartbeats);

  std::uint64_t number() const { return number_; }
  GenerationState state() const { return state_; }
  const Settings& settings() const { return settings_; }
  const std::map<std::uint32_t, std::unique_ptr<WorkerProcess>>& workers() const {
    return workers_;
  }
  WorkerProcess* find_worker(pid_t pid) const;
  std::uint32_t worker_count() const { return worker_count_; }
  std::uint32_t ready_workers() const;
  bool imported() const { return imported_; }
  /// CLOCK_MONOTONIC.
  std::uint64_t started_usec() const { return started_usec_; }
  bool has_zygote() const { return zygote_ != nullptr; }
  /// "importing app:app", "starting workers: 1 of 4 ready", "probing /health"; empty once started.
  std::string start_phase() const;
  /// How the last worker that had to be replaced ended; empty: none.
  const std::string& last_death() const { return last_death_; }
  /// True if every wanted worker, and no other, is there and ready or serving; whatever is being
  /// recycled meanwhile.
  bool settled() const;
  /// Requests answered by workers that are gone.
  std::uint64_t past_requests() const { return past_requests_; }
  std::uint64_t unexpected_deaths() const { return unexpected_deaths_; }
  /// Why no worker can be expected to get ready: several in a row ended before they were, since
  /// the last count_starts(). Or empty.
  std::string start_trouble() const;
  void count_starts() { ended_unready_ = 0; }
  /// Workers that recycle_worker() was asked for, and that serve still, go on.
  void forget_asked_recycling();
  /// "workers keep dying (signal 11 (SEGV)), next start in 8 s", or empty.
  std::string trouble(std::uint64_t now_usec) const;

 private:
  Result<void> send_spec();
  Result<void> listen_to_zygote(WorkerProcess& zygote);
  Result<void> listen_to_worker(WorkerProcess& worker);
  Result<void> resume_processes(const SavedGeneration& saved);
  void on_zygote_message(ReceivedMessage& received);
  void on_zygote_exited(const ChildExit& child);
  void on_forked(std::uint32_t slot, pid_t pid);
  void on_fork_failed(std::uint32_t slot, int error);
  void on_worker_message(std::uint32_t slot, ReceivedMessage& received);
  void on_overdue(WorkerProcess& worker);
  void on_worker_exited(std::uint32_t slot, const ChildExit& child);
  void on_worker_channel_closed(std::uint32_t slot);
  /// It drains, and was not asked to.
  void on_ended_itself(WorkerProcess& worker);
  void worker_became_ready(WorkerProcess& worker);
  void start_serving();
  void fill();
  Result<void> fork_worker();
  void drain_surplus(std::uint32_t surplus);
  void drain_worker(WorkerProcess& worker, DrainPace pace = DrainPace::patient);
  void remove_worker(std::uint32_t slot);
  void replace_after_death(const std::string& how);
  void maybe_ready();
  void probe();
  void on_probed(ReceivedMessage& received);
  void became_ready();
  /// As fail_start(), once `process` has had the time to write its Python stacks.
  void fail_start_with_stacks(WorkerProcess& process, std::string text);
  void fail_start(StartFailure kind, std::string text);
  void maybe_gone();
  void give_up_on(WorkerProcess& worker, std::uint64_t now_usec, std::uint64_t beat_usec);
  void report_deaths_held_back(std::uint64_t count);
  /// ", while it served GET /report", or empty.
  std::string what_it_served(const WorkerProcess& worker) const;
  /// How a process of ours ended that was not asked to: "signal 11 (SEGV), core dumped".
  std::string explained(const ChildExit& child, bool was_killed, std::string_view why) const;
  void check_worker(WorkerProcess& worker, std::uint64_t now_usec, bool trust_heartbeats);
  // generation_recycling.cpp
  void recycle(std::uint64_t now_usec);
  /// With those that serve on until their replacement does.
  std::uint32_t wanted_workers() const;
  void drain_replaced();
  void cancel_recycling();
  std::uint32_t active_workers() const;
  std::uint32_t forking_workers() const;

  GenerationContext context_;
  const std::uint64_t number_;
  const Settings settings_;
  GenerationState state_ = GenerationState::starting;
  std::uint32_t worker_count_ = 0;
  bool imported_ = false;
  bool probing_ = false;
  EventSource start_timer_;    ///< the probe's limit, then the time for stacks
  std::string start_verdict_;  ///< why the start will fail; empty: it is not decided
  bool start_failed_ = false;
  std::uint64_t started_usec_ = 0;
  std::uint64_t start_deadline_usec_ = 0;
  std::uint64_t last_fork_usec_ = 0;
  std::uint64_t past_requests_ = 0;
  std::uint64_t unexpected_deaths_ = 0;
  std::string last_death_;
  std::uint32_t ended_unready_ = 0;  ///< workers in a row
  LogLimit death_log_;
  RestartBackoff backoff_;
  std::mt19937_64 random_{std::random_device{}()};
  std::uint64_t next_fork_usec_ = 0;
  EventSource fork_timer_;
  std::unique_ptr<WorkerProcess> zygote_;
  std::map<std::uint32_t, std::unique_ptr<WorkerProcess>> workers_;
};

}  // namespace green::manager
