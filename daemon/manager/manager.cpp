// Manager: start, switch, stop and the supervision tick. Reloads and scaling: manager_reload.cpp;
// what others are told: manager_status.cpp.
#include "daemon/manager/manager.h"

#include <algorithm>
#include <utility>

#include "common/log.h"
#include "common/message_ids.h"
#include "common/names.h"

namespace green::manager {
namespace {

/// Two generations of the most workers a site may have, and as many still draining.
constexpr std::uint32_t scoreboard_slots = 4096;
constexpr std::uint64_t tick_usec = 1'000'000;
/// Each grant is renewed while there is progress, well before it runs out.
constexpr std::uint64_t extension_usec = 15'000'000;
/// Of processes that are killed at the end of graceful_timeout.
constexpr std::uint64_t end_margin_usec = 10'000'000;
constexpr std::uint64_t extension_interval_usec = 3'000'000;

}  // namespace

Result<std::unique_ptr<Manager>> Manager::create(EventLoop& loop, Children& children,
                                                 ServiceNotify& notify,
                                                 const std::vector<Listener>& listeners,
                                                 ManagerOptions options) {
  auto scoreboard = Scoreboard::create(scoreboard_slots);
  if (!scoreboard) return fail(std::move(scoreboard.error()));
  // make_unique can't reach the private constructor.
  return std::unique_ptr<Manager>(
      new Manager(loop, children, notify, listeners, std::move(options), std::move(*scoreboard)));
}

Manager::Manager(EventLoop& loop, Children& children, ServiceNotify& notify,
                 const std::vector<Listener>& listeners, ManagerOptions options,
                 Scoreboard scoreboard)
    : loop_(loop),
      children_(children),
      notify_(notify),
      listeners_(listeners),
      options_(std::move(options)),
      scoreboard_(std::move(scoreboard)),
      slots_(scoreboard_.slot_count()),
      survey_(loop),
      current_(options_.initial),
      started_realtime_usec_(realtime_usec()),
      started_monotonic_usec_(monotonic_usec()) {
  for (const Listener& listener : listeners_) {
    listener_fds_.push_back(listener.fd.get());
    listener_addresses_.push_back(listener.address);
  }
}

Manager::~Manager() = default;

Result<void> Manager::start() {
  target_workers_ = static_cast<std::uint32_t>(current_.values.workers);
  candidate_settings_ = current_;
  if (auto ticking = start_ticking(); !ticking) return ticking;
  candidate_ = std::make_unique<Generation>(generation_context(), ++last_number_, current_.values);
  if (auto started = candidate_->start(target_workers_); !started) return started;
  extend_start_timeout();
  update_status();
  return {};
}

Result<void> Manager::start_ticking() {
  auto timer = loop_.add_timer(monotonic_usec() + tick_usec, [this] { tick(); });
  if (!timer) return fail(std::move(timer.error()));
  tick_timer_ = std::move(*timer);
  last_tick_usec_ = monotonic_usec();
  return {};
}

GenerationContext Manager::generation_context() {
  return {loop_,         children_,     scoreboard_,
          slots_,        oom_kills_,    survey_,
          listener_fds_, options_.site, options_.worker_program,
          *this};
}

void Manager::generation_ready(Generation& generation) {
  if (&generation != candidate_.get()) return;
  if (serving_ != nullptr && candidate_settings_.values.reload == "rolling")
    begin_roll();
  else
    switch_to_candidate();
}

void Manager::switch_to_candidate() {
  const bool first = serving_ == nullptr;
  std::unique_ptr<Generation> old = std::exchange(serving_, std::move(candidate_));
  current_ = candidate_settings_;
  if (const auto level = log_level_from_name(current_.values.log_level)) log_set_level(*level);
  const bool rolled = std::exchange(rolling_, false);  // serve() tells of changes
  serving_->serve();
  if (rolled) serving_->set_worker_count(target_workers_);
  if (drained_) serving_->set_worker_count(0);
  const std::size_t drained = old ? old->workers().size() : 0;
  if (old) retire(std::move(old));
  if (first) {
    log_notice("generation {} serves {} with {} workers", serving_->number(), current_.values.app,
               target_workers_);
    notify_.ready(status_line());
    if (options_.failed_starts != nullptr) options_.failed_starts->forget();
    if (observer_ != nullptr) observer_->site_changed();
    begin_waiting_reload();  // asked for before anything served
    return;
  }
  log_notice("generation {} serves {}; the one before drains{}", serving_->number(),
             current_.values.app, change_note_);
  report_progress("switched");
  report_progress(fmt::format("draining {}", drained));
  finish_reload(JobResult::done,
                fmt::format("generation {} serves with {} workers{}", serving_->number(),
                            serving_->ready_workers(), change_note_));
}

void Manager::generation_failed(Generation& generation, StartFailure kind, std::string text) {
  if (&generation != candidate_.get()) return;
  generation.kill();
  retire(std::move(candidate_));
  if (serving_ == nullptr && !stopping_) {
    log_event(message_id::start_failed, LogLevel::error, "generation {} failed to start: {}",
              generation.number(), text);
    exit_failed(kind == StartFailure::configuration ? exit_config : exit_failure, text);
    return;
  }
  finish_reload(JobResult::failed, text);
}

void Manager::zygote_lost(Generation& generation, const std::string& how) {
  if (&generation != serving_.get() || stopping_) return;
  log_error("generation {}: its zygote ended ({}); {}", generation.number(), how,
            drained_ ? "undrain will start another generation in its place"
                     : "starting another generation in its place");
  cancel_traffic_jobs("the zygote ended");
  if (candidate_ == nullptr && !drained_) respawn_after(0);
}

void Manager::exit_failed(int status, const std::string& reason) {
  exit_reason_ = reason;
  notify_.failed(fmt::format("failed to start: {}", gist_of(reason)));
  stopping_ = true;
  loop_.exit(status);
}

void Manager::retire(std::unique_ptr<Generation> generation) {
  Generation& retired = *generation;
  retired_.push_back(std::move(generation));
  if (retired.state() == GenerationState::gone) {
    generation_gone(retired);
  } else {
    retired.drain(stopping_ ? DrainPace::prompt : DrainPace::patient);
  }
}

void Manager::generation_gone(Generation& generation) {
  log_debug("generation {} is gone", generation.number());
  // It is on the stack of this call: buried in the loop's next turn.
  auto deferred = loop_.add_defer([this] {
    std::erase_if(retired_, [this](const std::unique_ptr<Generation>& one) {
      if (one->state() != GenerationState::gone) return false;
      past_requests_ += one->past_requests();
      past_deaths_ += one->unexpected_deaths();
      return true;
    });
    update_status();
    finish_traffic_jobs();
    exit_when_empty();
  });
  if (!deferred) {
    log_error("{}", deferred.error().message());
    return;
  }
  bury_ = std::move(*deferred);
}

void Manager::worker_added(Generation&, std::uint32_t slot) {
  if (observer_ != nullptr) observer_->worker_added(slot);
}

void Manager::worker_removed(Generation&, std::uint32_t slot) {
  usage_.keep_only([this](pid_t pid) { return find_worker(pid) != nullptr; });
  if (observer_ != nullptr) observer_->worker_removed(slot);
}

void Manager::generation_changed(Generation&) {
  if (rolling_) {
    roll();
  } else if (candidate_) {
    report_progress(candidate_->start_phase());
  }
  update_status();
  finish_scale_if_settled();
  finish_traffic_jobs();
  fail_hopeless_jobs();
}

void Manager::stop_gracefully() {
  if (stopping_) return;
  stopping_ = true;
  std::uint64_t longest = 0;
  for_each_generation([&longest](const Generation& generation) {
    const auto timeout = generation.settings().graceful_timeout.count();
    longest = std::max(longest, static_cast<std::uint64_t>(timeout));
  });
  stop_deadline_usec_ = monotonic_usec() + longest + end_margin_usec;
  respawn_timer_ = {};
  log_notice("stopping: finishing the requests in flight");
  notify_.stopping("stopping: finishing the requests in flight");
  if (reload_job_) end_job(*std::exchange(reload_job_, {}), JobResult::cancelled, "greend stops");
  if (waiting_reload_job_)
    end_job(*std::exchange(waiting_reload_job_, {}), JobResult::cancelled, "greend stops");
  if (scale_job_) end_job(std::exchange(scale_job_, {})->id, JobResult::cancelled, "greend stops");
  if (reexec_job_) end_job(*std::exchange(reexec_job_, {}), JobResult::cancelled, "greend stops");
  cancel_traffic_jobs("greend stops");
  if (candidate_) {
    if (!std::exchange(rolling_, false)) candidate_->kill();
    retire(std::move(candidate_));
  }
  for (const auto& generation : retired_) generation->drain(DrainPace::prompt);
  if (serving_) retire(std::move(serving_));
  exit_when_empty();
}

void Manager::stop_now() {
  stop_gracefully();
  log_notice("stopping at once");
  for (const auto& generation : retired_) generation->kill();
}

void Manager::exit_when_empty() {
  if (stopping_ && retired_.empty() && exit_reason_.empty()) loop_.exit(exit_success);
}

void Manager::extend_start_timeout() {
  const std::uint64_t now = monotonic_usec();
  if (now < last_extension_usec_ + extension_interval_usec && last_extension_usec_ != 0) return;
  last_extension_usec_ = now;
  notify_.extend_timeout(extension_usec);
}

bool Manager::progress_is_made(std::uint64_t now_usec) const {
  // Starting and stopping have limits of their own (start_timeout, graceful_timeout).
  if (serving_ == nullptr || serving_->settings().timeout.count() == 0) return true;
  const auto limit = static_cast<std::uint64_t>(serving_->settings().timeout.count());
  // A worker that stopped turning is killed at its limit; if none has turned for thrice as long,
  // supervision itself has failed.
  bool any = false;
  for (const auto& [slot, worker] : serving_->workers()) {
    if (worker->state() != WorkerState::serving) continue;
    any = true;
    if (now_usec <
        scoreboard_.slot(slot).heartbeat_usec.load(std::memory_order_relaxed) + 3 * limit)
      return true;
  }
  return !any;
}

void Manager::tick() {
  const std::uint64_t now = monotonic_usec();
  // If we ourselves were held up (a stopped machine), so were the workers: give them a turn first.
  if (now > last_tick_usec_ + 3 * tick_usec) {
    heartbeats_trusted_from_usec_ = now + 5 * tick_usec;
    const std::uint64_t pause = now - last_tick_usec_;
    if (serving_) serving_->forgive(pause);
    if (candidate_) candidate_->forgive(pause);
    for (const auto& generation : retired_) generation->forgive(pause);
    stop_deadline_usec_ += pause;
  }
  last_tick_usec_ = now;
  const bool trusted = now >= heartbeats_trusted_from_usec_;
  if (serving_) serving_->check(now, trusted);
  if (candidate_) candidate_->check(now, trusted);
  for (const auto& generation : retired_) generation->check(now, trusted);

  // One that can't be killed (state D) holds up a stop for as long as systemd says.
  if (candidate_ || (stopping_ && now < stop_deadline_usec_)) extend_start_timeout();
  const std::uint64_t watchdog = notify_.watchdog_usec();
  if (watchdog > 0 && now >= last_watchdog_usec_ + std::min(watchdog / 4, 10 * tick_usec)) {
    if (progress_is_made(now) || !trusted) {
      notify_.feed_watchdog();
      last_watchdog_usec_ = now;
    }
  }
  update_status();
  continue_reexec();
  std::uint64_t interval =
      watchdog > 0 ? std::clamp<std::uint64_t>(watchdog / 4, tick_usec / 10, tick_usec) : tick_usec;
  // A short `timeout` is looked at in time.
  if (const auto timeout = static_cast<std::uint64_t>(current_.values.timeout.count()); timeout > 0)
    interval = std::min(interval, std::max(timeout / 10, tick_usec / 10));
  tick_timer_.set_time(now + interval);
}

}  // namespace green::manager
