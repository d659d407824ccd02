// Manager: replacing greend in place. The successor is checked in a child; then, with no generation
// starting and no worker being forked, the state goes into a memfd and the successor is executed.
// It keeps the pid, and with it the service, the children and every descriptor that the state
// names. The workers serve meanwhile. In the successor: taking over, and a reload for the workers.
#include <algorithm>
#include <utility>

#include "common/log.h"
#include "common/names.h"
#include "common/worker_channel.h"
#include "daemon/manager/manager.h"

namespace green::manager {

Result<JobId> Manager::reexec(std::string_view asked_by) {
  if (stopping_) return fail(ErrorCode::busy, "the site is stopping");
  if (serving_ == nullptr) return fail(ErrorCode::busy, "the site is starting");
  if (auto refused = refuse_while_drained(); !refused) return fail(std::move(refused.error()));
  if (options_.successor == nullptr)
    return fail(ErrorCode::unavailable, "this greend can't be replaced");
  log_notice("reexec asked by {}", asked_by);
  if (!reexec_job_) {
    reexec_job_ = ++last_job_;
    successor_is_checked_ = false;
    const JobId job = *reexec_job_;
    check_successor();
    return job;
  }
  return *reexec_job_;
}

void Manager::check_successor() {
  auto state = make_text_memfd("green-state", write_saved_state(save()));
  Result<void> checked;
  if (state) {
    checked = options_.successor->check(state->get(), [this](const Result<void>& answer) {
      if (!reexec_job_) return;  // stopped meanwhile
      if (!answer) return fail_reexec(answer.error().message());
      successor_is_checked_ = true;
      continue_reexec();
    });
  } else {
    checked = fail(std::move(state.error()));
  }
  if (!checked) fail_reexec(checked.error().message());
}

void Manager::fail_reexec(const std::string& why) {
  successor_is_checked_ = false;
  log_error("reexec failed; this greend goes on: {}", why);
  if (reexec_job_) end_job(*std::exchange(reexec_job_, {}), JobResult::failed, why);
}

bool Manager::can_be_saved() const {
  return serving_ != nullptr && candidate_ == nullptr && ended_jobs_.empty() &&
         recycle_jobs_.empty() && !drain_job_ && serving_->can_be_saved() &&
         std::ranges::all_of(retired_, [](const auto& one) { return one->can_be_saved(); });
}

void Manager::continue_reexec() {
  if (!reexec_job_ || !successor_is_checked_ || stopping_ || !can_be_saved()) return;
  const SavedState saved = save();
  auto state = make_text_memfd("green-state", write_saved_state(saved));
  if (!state) return fail_reexec(state.error().message());
  log_notice("executing {} in this process", options_.successor->program());
  fail_reexec(options_.successor->execute(state->get(), saved.descriptors()).message());
}

SavedState Manager::save() const {
  SavedState saved{.version = std::string(version),
                   .site = options_.site,
                   .sockets_from_systemd = !options_.binds,
                   .listeners = {},
                   .scoreboard = scoreboard_.fd(),
                   .slot_count = scoreboard_.slot_count(),
                   .target_workers = target_workers_,
                   .last_generation = last_number_,
                   .last_job = last_job_,
                   .reexec_job = reexec_job_.value_or(0),
                   .scale_job = std::nullopt,
                   .started_realtime_usec = started_realtime_usec_,
                   .started_monotonic_usec = started_monotonic_usec_,
                   .last_reload_realtime_usec = last_reload_realtime_usec_,
                   .last_reload_result = last_reload_result_,
                   .past_requests = past_requests_,
                   .past_deaths = past_deaths_,
                   .origins = {current_.origins.begin(), current_.origins.end()},
                   .generations = {}};
  if (scale_job_) saved.scale_job = SavedJob{.id = scale_job_->id, .workers = scale_job_->workers};
  for (const Listener& listener : listeners_)
    saved.listeners.push_back({.fd = listener.fd.get(),
                               .address = listener.address,
                               .unlink_path = listener.unlink_path});
  for_each_generation([&](const Generation& generation) {
    if (&generation != candidate_.get() && generation.state() != GenerationState::gone)
      saved.generations.push_back(generation.save());
  });
  return saved;
}

Result<std::unique_ptr<Manager>> Manager::resume(EventLoop& loop, Children& children,
                                                 ServiceNotify& notify,
                                                 const std::vector<Listener>& listeners,
                                                 ManagerOptions options, const SavedState& saved) {
  auto scoreboard = Scoreboard::map(Fd(saved.scoreboard), saved.slot_count);
  if (!scoreboard) return fail(std::move(scoreboard.error()));
  auto manager = std::unique_ptr<Manager>(
      new Manager(loop, children, notify, listeners, std::move(options), std::move(*scoreboard)));
  if (auto taken = manager->take_over(saved); !taken) return fail(std::move(taken.error()));
  return manager;
}

Result<void> Manager::take_over(const SavedState& saved) {
  target_workers_ = saved.target_workers;
  last_number_ = saved.last_generation;
  last_job_ = saved.last_job;
  started_realtime_usec_ = saved.started_realtime_usec;
  if (saved.started_monotonic_usec != 0) {
    started_monotonic_usec_ = saved.started_monotonic_usec;
  } else {
    // The clock may have been set since: the best there is.
    const std::uint64_t now = realtime_usec();
    started_monotonic_usec_ -=
        std::min(started_monotonic_usec_, now - std::min(now, started_realtime_usec_));
  }
  last_reload_realtime_usec_ = saved.last_reload_realtime_usec;
  last_reload_result_ = saved.last_reload_result;
  past_requests_ = saved.past_requests;
  past_deaths_ = saved.past_deaths;
  if (saved.scale_job) scale_job_ = {saved.scale_job->id, saved.scale_job->workers};
  if (saved.reexec_job != 0) reload_job_ = saved.reexec_job;
  for (const SavedGeneration& one : saved.generations) {
    auto generation = Generation::resume(generation_context(), one);
    if (!generation) return fail(std::move(generation.error()));
    if (one.serves) {
      serving_ = std::move(*generation);
      current_.values = serving_->settings();
      for (const auto& [name, origin] : saved.origins) current_.origins[name] = origin;
    } else {
      retired_.push_back(std::move(*generation));
    }
  }
  auto reap = loop_.add_defer([this] { children_.reap(); });
  if (!reap) return fail(std::move(reap.error()));
  reap_early_ = std::move(*reap);
  reexec_note_ = fmt::format("greend {} took over from {}; ", version, saved.version);
  log_notice("greend {} took over from {}: generation {}, {} workers", version, saved.version,
             serving_->number(), serving_->ready_workers());
  if (const auto level = log_level_from_name(current_.values.log_level)) log_set_level(*level);
  return start_ticking();
}

void Manager::reload_after_reexec() {
  if (serving_ != nullptr && candidate_ == nullptr && !stopping_) begin_reload();
}

}  // namespace green::manager
