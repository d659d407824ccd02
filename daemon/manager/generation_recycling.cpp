// Generation: workers that have reached a limit of theirs are recycled. A replacement is forked
// beside the old worker, which drains once the replacement serves: there are never fewer serving
// than wanted, and never many more.
#include <algorithm>
#include <vector>

#include "common/log.h"
#include "daemon/manager/generation.h"

namespace green::manager {
namespace {

/// One at a time, and of many workers no more than this part: each of them is memory twice, and a
/// fork.
constexpr std::uint32_t recycled_part = 8;

}  // namespace

void Generation::recycle(std::uint64_t now_usec) {
  if (state_ != GenerationState::serving || zygote_ == nullptr) return;
  const auto under_way = static_cast<std::uint32_t>(std::ranges::count_if(
      workers_, [](const auto& entry) { return entry.second->is_recycled(); }));
  const std::uint32_t most = std::max(1U, worker_count_ / recycled_part);
  if (under_way >= most) return;
  struct Due {
    WorkerProcess* worker;
    std::string wear;
  };
  std::vector<Due> due;
  for (const auto& [slot, worker] : workers_) {
    if (worker->state() != WorkerState::serving || worker->is_recycled()) continue;
    std::string wear = worker->recycling_is_asked()
                           ? "is to be recycled"
                           : wear_of(worker->wear_limits(), context_.scoreboard.slot(slot),
                                     now_usec - worker->started_monotonic_usec());
    if (!wear.empty()) due.push_back({worker.get(), std::move(wear)});
  }
  if (due.empty()) return;
  std::ranges::sort(due, {}, [](const Due& one) { return one.worker->started_monotonic_usec(); });
  due.resize(std::min<std::size_t>(due.size(), most - under_way));
  for (const auto& [worker, wear] : due) {
    log_notice("worker {} (process {}) {}: another takes its place, then it drains", worker->slot(),
               worker->pid(), wear);
    worker->set_recycled(true);
  }
  fill();
}

WorkerProcess* Generation::find_worker(pid_t pid) const {
  const auto found = std::ranges::find_if(
      workers_, [pid](const auto& entry) { return pid != 0 && entry.second->pid() == pid; });
  return found == workers_.end() ? nullptr : found->second.get();
}

bool Generation::recycle_worker(pid_t pid) {
  WorkerProcess* const worker = find_worker(pid);
  if (worker == nullptr || state_ != GenerationState::serving ||
      worker->state() != WorkerState::serving)
    return false;
  worker->ask_recycling();
  recycle(monotonic_usec());
  return true;
}

std::uint32_t Generation::wanted_workers() const {
  const auto extra = std::ranges::count_if(workers_, [](const auto& entry) {
    return entry.second->is_recycled() && !entry.second->expected_to_exit();
  });
  return worker_count_ + static_cast<std::uint32_t>(extra);
}

void Generation::drain_replaced() {
  std::uint32_t surplus = ready_workers() > worker_count_ ? ready_workers() - worker_count_ : 0;
  for (const auto& [slot, worker] : workers_) {
    if (surplus == 0) return;
    if (!worker->is_recycled() || worker->expected_to_exit()) continue;
    drain_worker(*worker);
    --surplus;
  }
}

void Generation::forget_asked_recycling() {
  for (const auto& [slot, worker] : workers_) {
    if (!worker->recycling_is_asked() || worker->expected_to_exit()) continue;
    worker->forget_recycling();
    worker->set_recycled(false);
  }
  fill();
}

void Generation::cancel_recycling() {
  for (const auto& [slot, worker] : workers_)
    if (!worker->expected_to_exit()) worker->set_recycled(false);
}

}  // namespace green::manager
