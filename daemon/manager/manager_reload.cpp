// Manager: reloads as transactions, scaling, and the jobs that stand for both.
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

#include "common/log.h"
#include "common/message_ids.h"
#include "common/names.h"
#include "daemon/manager/manager.h"

namespace green::manager {

Result<JobId> Manager::reload(std::string_view asked_by) {
  if (stopping_) return fail(ErrorCode::busy, "the site is stopping");
  if (auto refused = refuse_while_drained(); !refused) return fail(std::move(refused.error()));
  log_notice("reload asked by {}", asked_by);
  if (candidate_) {
    // What runs may have read the code already: one more reload, for all who ask meanwhile.
    if (!waiting_reload_job_) waiting_reload_job_ = ++last_job_;
    return *waiting_reload_job_;
  }
  reload_job_ = ++last_job_;
  const JobId job = *reload_job_;
  begin_reload();
  return job;
}

void Manager::begin_reload() {
  respawn_timer_ = {};
  notify_.reloading("reloading: reading the settings");
  auto loaded = load_settings(options_.sources);
  if (!loaded) {
    finish_reload(JobResult::failed, loaded.error().message());
    return;
  }
  // A scaled number of workers outlives a reload, unless the setting itself was changed.
  if (loaded->values.workers != current_.values.workers)
    target_workers_ = static_cast<std::uint32_t>(loaded->values.workers);
  note_changes(loaded->values);
  candidate_settings_ = std::move(*loaded);
  candidate_ = std::make_unique<Generation>(generation_context(), ++last_number_,
                                            candidate_settings_.values);
  const bool rolls = serving_ != nullptr && candidate_settings_.values.reload == "rolling";
  if (auto started = candidate_->start(rolls ? 1 : target_workers_); !started) {
    const std::string message = started.error().message();
    candidate_->kill();
    retire(std::move(candidate_));
    finish_reload(JobResult::failed, message);
    return;
  }
  extend_start_timeout();
  update_status();
  report_progress(candidate_->start_phase());
}

void Manager::note_changes(Settings& settings) {
  change_note_.clear();
  if (const auto changed = changed_settings(current_.values, settings, SettingScope::reload);
      !changed.empty())
    change_note_ += fmt::format("; changed: {}", fmt::join(changed, ", "));
  for (const std::string& name :
       changed_settings(current_.values, settings, SettingScope::restart)) {
    if (name == "bind" && !options_.binds) continue;
    log_warning("{} has changed: that needs a restart", name);
    change_note_ += fmt::format("; {} changed: needs a restart", name);
  }
  keep_until_restart(current_.values, settings);
}

void Manager::report_progress(const std::string& phase) {
  if (!reload_job_ || phase.empty() || phase == reported_phase_) return;
  reported_phase_ = phase;
  if (observer_ != nullptr) observer_->job_changed(*reload_job_, phase);
}

void Manager::finish_reload(JobResult result, const std::string& text) {
  const std::string message = std::exchange(reexec_note_, {}) + text;
  const bool failed = result == JobResult::failed;
  if (failed) {
    log_event(message_id::reload_failed, LogLevel::error,
              "reload failed; generation {} serves on: {}", serving_ ? serving_->number() : 0,
              message);
    target_workers_ = serving_ ? serving_->worker_count() : target_workers_;
  }
  last_reload_realtime_usec_ = realtime_usec();
  last_reload_result_ = std::string(job_result_name(result));
  reported_phase_.clear();
  notify_.ready(status_line());
  if (reload_job_) end_job(*std::exchange(reload_job_, {}), result, message);
  // It may have been lost while the candidate that failed was started.
  const bool zygote_is_missing = serving_ != nullptr && !serving_->has_zygote();
  if (failed && zygote_is_missing) {
    fail_jobs_without_zygote(message);
    if (!waiting_reload_job_) respawn_after(RestartBackoff::first_delay_usec);
  }
  begin_waiting_reload();
  update_status();
}

void Manager::begin_waiting_reload() {
  if (!waiting_reload_job_ || stopping_) return;
  reload_job_ = std::exchange(waiting_reload_job_, {});
  begin_reload();
}

void Manager::respawn_after(std::uint64_t least_delay_usec) {
  const std::uint64_t now = monotonic_usec();
  const std::uint64_t delay = std::max(respawn_backoff_.on_death(now, 1), least_delay_usec);
  if (delay == 0) {
    begin_reload();
    return;
  }
  auto timer = loop_.add_timer(now + delay, [this] {
    if (candidate_ == nullptr && !stopping_ && !drained_) begin_reload();
  });
  if (!timer) {
    log_error("{}", timer.error().message());
    return;
  }
  respawn_timer_ = std::move(*timer);
}

Result<JobId> Manager::scale(std::uint32_t workers, std::string_view asked_by) {
  const Setting& bounds = *find_setting("workers");
  if (workers < static_cast<std::uint64_t>(bounds.minimum) ||
      workers > static_cast<std::uint64_t>(bounds.maximum))
    return fail(ErrorCode::configuration, fmt::format("{} workers: must be between {} and {}",
                                                      workers, bounds.minimum, bounds.maximum));
  if (stopping_) return fail(ErrorCode::busy, "the site is stopping");
  if (auto refused = refuse_while_drained(); !refused) return fail(std::move(refused.error()));
  if (workers > target_workers_)
    if (auto refused = refuse_without_zygote(); !refused) return fail(std::move(refused.error()));
  log_notice("scale from {} to {} workers asked by {}", target_workers_, workers, asked_by);
  if (scale_job_)
    end_job(std::exchange(scale_job_, {})->id, JobResult::cancelled, "another scale came after it");
  target_workers_ = workers;
  const JobId job = ++last_job_;
  scale_job_ = {job, workers};
  if (rolling_) {
    workers_before_roll_ = workers;
    roll();
  } else {
    // One that will replace its workers one by one starts with one, and grows as it does.
    const bool will_roll = serving_ && candidate_settings_.values.reload == "rolling";
    if (candidate_ && !will_roll) candidate_->set_worker_count(workers);
    if (serving_) {
      serving_->count_starts();
      serving_->set_worker_count(workers);
    }
  }
  finish_scale_if_settled();
  update_status();
  return job;
}

void Manager::finish_scale_if_settled() {
  if (!scale_job_ || rolling_ || !serving_ || !serving_->settled()) return;
  const ScaleJob job = *std::exchange(scale_job_, {});
  end_job(job.id, JobResult::done, fmt::format("{} workers serve", job.workers));
}

void Manager::end_job(JobId job, JobResult result, std::string message) {
  log_debug("job {} {}: {}", job, job_result_name(result), message);
  // In the loop's next turn: the reply that names the job goes out first.
  ended_jobs_.emplace_back([this, job, result, text = std::move(message)] {
    if (observer_ != nullptr) observer_->job_removed(job, result, text);
  });
  auto deferred = loop_.add_defer([this] {
    for (const auto& report : std::exchange(ended_jobs_, {})) report();
  });
  if (!deferred) {
    log_error("{}", deferred.error().message());
    return;
  }
  report_jobs_ = std::move(*deferred);
}

}  // namespace green::manager
