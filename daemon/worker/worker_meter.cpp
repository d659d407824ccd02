#include "daemon/worker/worker_meter.h"

#include <unistd.h>

#include "common/request_note.h"

namespace green::worker {
namespace {

constexpr std::uint64_t long_call_usec = 5'000;

template <typename T>
void add(std::atomic<T>& counter, T amount) {
  counter.store(counter.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
}

}  // namespace

WorkerMeter::WorkerMeter(const Scoreboard& scoreboard, std::uint32_t slot, std::uint64_t generation)
    : scoreboard_(scoreboard),
      header_(scoreboard.header()),
      slot_(scoreboard.slot(slot)),
      generation_(generation) {
  slot_.generation.store(generation, std::memory_order_relaxed);
  slot_.pid.store(static_cast<std::uint32_t>(::getpid()), std::memory_order_relaxed);
  set_resting(WorkerActivity::starting);
  heartbeat(monotonic_usec());
}

bool WorkerMeter::may_accept() {
  if (leaves_connections_) return false;
  return header_.serving_generation.load(std::memory_order_acquire) == generation_ ||
         header_.joining_generation.load(std::memory_order_acquire) == generation_;
}

http::Share WorkerMeter::share() {
  const auto now = monotonic_usec();
  auto fewest = std::numeric_limits<std::uint32_t>::max();
  // Not all slots: a look at an unused one would give it memory, and cost a cache miss.
  const auto used =
      std::min(header_.used_slots.load(std::memory_order_relaxed), scoreboard_.slot_count());
  for (std::uint32_t i = 0; i < used; ++i) {
    const ScoreboardSlot& slot = scoreboard_.slot(i);
    if (&slot == &slot_ || slot.generation.load(std::memory_order_relaxed) != generation_) continue;
    const auto activity = slot.activity.load(std::memory_order_relaxed);
    if (activity != WorkerActivity::idle && activity != WorkerActivity::busy) continue;
    // What is long in a call, or stuck, takes none.
    const auto busy_since = slot.busy_since_usec.load(std::memory_order_relaxed);
    if (!follows_tasks_ && busy_since != 0 && busy_since + long_call_usec < now) continue;
    fewest = std::min(fewest, slot.connections.load(std::memory_order_relaxed));
  }
  if (fewest == std::numeric_limits<std::uint32_t>::max()) return http::Share::alone;
  const auto ours = slot_.connections.load(std::memory_order_relaxed);
  return ours > fewest + 1 ? http::Share::large : http::Share::fair;
}

void WorkerMeter::connection_opened() {
  add(slot_.accepted, std::uint64_t{1});
  add(slot_.connections, 1U);
}

void WorkerMeter::connection_closed() { add(slot_.connections, ~0U); }

void WorkerMeter::call_begins(std::uint64_t now_usec, const http::Request& request) {
  note_request(
      slot_, request.method, request.path,
      request.endpoints != nullptr ? request.endpoints->remote_address : std::string_view());
  if (!follows_calls_) {
    // A turn may hold many requests: each of them is progress.
    heartbeat(now_usec);
    slot_.busy_since_usec.store(now_usec, std::memory_order_relaxed);
  } else if (slot_.busy_since_usec.load(std::memory_order_relaxed) == 0) {
    slot_.busy_since_usec.store(now_usec, std::memory_order_relaxed);
  }
  slot_.activity.store(WorkerActivity::busy, std::memory_order_relaxed);
  add(slot_.in_flight, 1U);
}

void WorkerMeter::call_ended() {
  if (follows_calls_) return;
  slot_.busy_since_usec.store(0, std::memory_order_relaxed);
  slot_.activity.store(resting_, std::memory_order_relaxed);
}

void WorkerMeter::request_done() {
  add(slot_.in_flight, ~0U);
  add(slot_.requests, std::uint64_t{1});
}

void WorkerMeter::heartbeat(std::uint64_t now_usec) {
  slot_.heartbeat_usec.store(now_usec, std::memory_order_relaxed);
}

bool WorkerMeter::is_due() const {
  const std::uint64_t limit = slot_.request_limit.load(std::memory_order_relaxed);
  return limit != 0 && slot_.requests.load(std::memory_order_relaxed) >= limit;
}

void WorkerMeter::set_memory(std::uint64_t bytes) {
  slot_.memory_bytes.store(bytes, std::memory_order_relaxed);
}

void WorkerMeter::update(std::uint64_t now_usec, const python::CallsUnderWay& calls) {
  heartbeat(now_usec);
  if (calls.count == 0) {
    slot_.busy_since_usec.store(0, std::memory_order_relaxed);
    slot_.activity.store(resting_, std::memory_order_relaxed);
  } else if (calls.oldest_usec != 0 || follows_tasks_) {
    slot_.busy_since_usec.store(calls.oldest_usec, std::memory_order_relaxed);
  }
}

void WorkerMeter::set_resting(WorkerActivity activity) {
  resting_ = activity;
  if (slot_.busy_since_usec.load(std::memory_order_relaxed) == 0)
    slot_.activity.store(activity, std::memory_order_relaxed);
}

}  // namespace green::worker
