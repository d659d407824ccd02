// Generation: handing its zygote and workers over to the greend that is executed in this one's
// place. They notice nothing: channel, pidfd and parent stay the same.
#include <algorithm>
#include <utility>

#include "common/log.h"
#include "daemon/manager/generation.h"

namespace green::manager {
namespace {

/// For a zygote that was told to end.
constexpr std::uint64_t zygote_exit_usec = 5'000'000;

}  // namespace

bool Generation::can_be_saved() const {
  return state_ != GenerationState::starting && state_ != GenerationState::ready &&
         forking_workers() == 0 &&
         // One whose end is about to be told would never be told of.
         std::ranges::none_of(workers_,
                              [](const auto& entry) { return entry.second->save().pidfd < 0; });
}

SavedGeneration Generation::save() const {
  SavedGeneration saved{.number = number_,
                        .serves = state_ == GenerationState::serving,
                        .settings = settings_to_toml(settings_),
                        .worker_count = worker_count_,
                        .past_requests = past_requests_,
                        .deaths = unexpected_deaths_,
                        .zygote = std::nullopt,
                        .workers = {}};
  if (zygote_) saved.zygote = zygote_->save();
  for (const auto& [slot, worker] : workers_) saved.workers.push_back(worker->save());
  return saved;
}

Result<std::unique_ptr<Generation>> Generation::resume(GenerationContext context,
                                                       const SavedGeneration& saved) {
  auto settings = settings_from_toml(saved.settings);
  if (!settings) return fail(std::move(settings.error()));
  auto generation =
      std::make_unique<Generation>(std::move(context), saved.number, std::move(*settings));
  generation->state_ = saved.serves ? GenerationState::serving : GenerationState::draining;
  generation->imported_ = true;
  generation->worker_count_ = saved.worker_count;
  generation->past_requests_ = saved.past_requests;
  generation->unexpected_deaths_ = saved.deaths;
  if (auto resumed = generation->resume_processes(saved); !resumed)
    return fail(std::move(resumed.error()).context(fmt::format("generation {}", saved.number)));
  return generation;
}

Result<void> Generation::resume_processes(const SavedGeneration& saved) {
  if (saved.zygote) {
    zygote_ = std::make_unique<WorkerProcess>(context_.loop, context_.children, 0,
                                              Fd(saved.zygote->channel));
    if (auto listening = listen_to_zygote(*zygote_); !listening) return listening;
    if (auto resumed = zygote_->resume(*saved.zygote); !resumed) return resumed;
    if (state_ == GenerationState::draining) zygote_->kill_after(zygote_exit_usec);
  }
  for (const SavedProcess& one : saved.workers) {
    if (!context_.slots.take(one.slot))
      return fail(ErrorCode::protocol, fmt::format("slot {} is taken twice", one.slot));
    auto worker = std::make_unique<WorkerProcess>(context_.loop, context_.children, one.slot,
                                                  Fd(one.channel));
    WorkerProcess& resumed_worker = *worker;
    workers_.emplace(one.slot, std::move(worker));
    WearLimits limits = draw_wear_limits(settings_, random_);
    limits.requests = context_.scoreboard.slot(one.slot).request_limit;  // the worker's own word
    resumed_worker.set_wear_limits(limits);
    if (auto listening = listen_to_worker(resumed_worker); !listening) return listening;
    if (auto resumed = resumed_worker.resume(one); !resumed) return resumed;
    if (resumed_worker.state() == WorkerState::killed) resumed_worker.kill_now();
    // It may have said so to a greend that was about to be replaced.
    if (state_ == GenerationState::serving && resumed_worker.state() == WorkerState::ready)
      worker_became_ready(resumed_worker);
  }
  return {};
}

}  // namespace green::manager
