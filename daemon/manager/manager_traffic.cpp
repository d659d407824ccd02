// Manager: what operators do to a site that serves: workers recycled, the site drained and back;
// and a look at what a worker is doing.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "common/log.h"
#include "common/request_note.h"
#include "common/worker_channel.h"
#include "daemon/manager/manager.h"

namespace green::manager {

Result<void> Manager::refuse_while_drained() const {
  if (drained_) return fail(ErrorCode::busy, "the site is drained: undrain it first");
  return {};
}

Result<void> Manager::refuse_without_zygote() const {
  if (serving_ == nullptr || serving_->has_zygote() || candidate_ != nullptr) return {};
  return fail(
      ErrorCode::busy,
      "no worker can be forked: the zygote ended and no other has been started yet (the log "
      "says why); a reload tries it at once");
}

void Manager::fail_jobs_without_zygote(const std::string& why) {
  if (drain_job_) end_job(*std::exchange(drain_job_, {}), JobResult::failed, why);
  if (scale_job_) end_job(std::exchange(scale_job_, {})->id, JobResult::failed, why);
}

void Manager::fail_hopeless_jobs() {
  // A reload under way may mend it.
  if (serving_ == nullptr || candidate_ != nullptr || drained_) return;
  const std::string trouble = serving_->start_trouble();
  if (trouble.empty()) return;
  const std::string goes_on = trouble + "; greend goes on trying; the log says why";
  if (serving_->ready_workers() < serving_->worker_count()) {
    if (drain_job_) end_job(*std::exchange(drain_job_, {}), JobResult::failed, goes_on);
    if (scale_job_) end_job(std::exchange(scale_job_, {})->id, JobResult::failed, goes_on);
  }
  if (recycle_jobs_.empty()) return;
  for (const RecycleJob& job : std::exchange(recycle_jobs_, {}))
    end_job(job.id, JobResult::failed, trouble + "; the old ones serve on; the log says why");
  serving_->forget_asked_recycling();
}

Result<JobId> Manager::recycle(pid_t pid, std::string_view asked_by) {
  if (stopping_) return fail(ErrorCode::busy, "the site is stopping");
  if (serving_ == nullptr) return fail(ErrorCode::busy, "the site is starting");
  if (rolling_) return fail(ErrorCode::busy, "a rolling reload replaces the workers already");
  if (auto refused = refuse_while_drained(); !refused) return fail(std::move(refused.error()));
  if (!serving_->has_zygote() && candidate_ != nullptr)
    return fail(ErrorCode::busy, "a reload replaces the workers already: the zygote ended");
  if (auto refused = refuse_without_zygote(); !refused) return fail(std::move(refused.error()));
  RecycleJob job{.id = 0, .pids = {}};
  for (const WorkerStatus& worker : workers())
    if ((pid == 0 || worker.pid == pid) && worker.generation == serving_->number() &&
        worker.state == worker_state_name(WorkerState::serving))
      job.pids.push_back(worker.pid);
  if (job.pids.empty())
    return fail(ErrorCode::configuration,
                pid == 0 ? std::string("no worker serves")
                         : fmt::format("process {} is no worker of this site that serves", pid));
  log_notice("recycling of {} asked by {}",
             pid == 0 ? std::string("all workers") : fmt::format("process {}", pid), asked_by);
  job.id = ++last_job_;
  const JobId id = job.id;
  serving_->count_starts();
  const std::vector<pid_t> pids = job.pids;
  recycle_jobs_.push_back(std::move(job));
  for (const pid_t one : pids) serving_->recycle_worker(one);
  return id;
}

Result<JobId> Manager::drain(std::string_view asked_by) {
  if (stopping_) return fail(ErrorCode::busy, "the site is stopping");
  if (serving_ == nullptr) return fail(ErrorCode::busy, "the site is starting");
  if (candidate_ != nullptr) return fail(ErrorCode::busy, "a reload is under way: drain after it");
  if (reexec_job_) return fail(ErrorCode::busy, "a reexec is under way: drain after it");
  log_notice("drain asked by {}", asked_by);
  cancel_traffic_jobs("a drain came after it");
  if (scale_job_)
    end_job(std::exchange(scale_job_, {})->id, JobResult::cancelled, "a drain came after it");
  drained_ = true;
  const JobId job = ++last_job_;
  drain_job_ = job;
  serving_->set_worker_count(0);
  update_status();
  finish_traffic_jobs();
  return job;
}

Result<JobId> Manager::undrain(std::string_view asked_by) {
  if (stopping_) return fail(ErrorCode::busy, "the site is stopping");
  if (!drained_) return fail(ErrorCode::configuration, "the site is not drained");
  log_notice("undrain asked by {}", asked_by);
  cancel_traffic_jobs("an undrain came after it");
  drained_ = false;
  const JobId job = ++last_job_;
  drain_job_ = job;
  if (serving_) {
    serving_->count_starts();
    serving_->set_worker_count(target_workers_);
  }
  if (serving_ && !serving_->has_zygote() && candidate_ == nullptr) begin_reload();
  update_status();
  finish_traffic_jobs();
  return job;
}

void Manager::finish_traffic_jobs() {
  if (drain_job_ && serving_) {
    const bool is_finished = drained_ ? serving_->workers().empty() && retired_.empty()
                                      : serving_->ready_workers() >= serving_->worker_count();
    if (is_finished)
      end_job(*std::exchange(drain_job_, {}), JobResult::done,
              drained_ ? "drained; connections wait in the sockets"
                       : fmt::format("{} workers serve", serving_->ready_workers()));
  }
  std::erase_if(recycle_jobs_, [this](const RecycleJob& job) {
    // Their replacements serve: each drains only then.
    const bool is_finished = std::ranges::all_of(job.pids, [this](pid_t pid) {
      const WorkerProcess* const worker = find_worker(pid);
      return worker == nullptr || worker->expected_to_exit();
    });
    if (is_finished)
      end_job(job.id, JobResult::done, fmt::format("{} workers were recycled", job.pids.size()));
    return is_finished;
  });
}

void Manager::cancel_traffic_jobs(const std::string& why) {
  if (drain_job_) end_job(*std::exchange(drain_job_, {}), JobResult::cancelled, why);
  for (const RecycleJob& job : std::exchange(recycle_jobs_, {}))
    end_job(job.id, JobResult::cancelled, why);
}

void Manager::ask_stacks(pid_t pid, std::function<void(Result<Fd>)> done) {
  WorkerProcess* const worker = find_worker(pid);
  if (worker == nullptr) {
    done(fail(ErrorCode::configuration, fmt::format("process {} is no worker of this site", pid)));
    return;
  }
  const auto answer = [this, pid, done = std::move(done)](const Result<std::string>& text) {
    if (text) {
      done(make_text_memfd("green-stacks", *text));
      return;
    }
    const WorkerProcess* const silent = find_worker(pid);
    done(
        fail(ErrorCode::unavailable,
             fmt::format("process {} does not show its stacks: {}; {}", pid, text.error().message(),
                         silent != nullptr ? silent->why_silent() : "it has ended")));
  };
  if (auto asked = worker->ask_stacks(answer); !asked) answer(fail(std::move(asked.error())));
}

}  // namespace green::manager
