// Generation: workers whose requests outlive `timeout`. One that holds up its loop is told by
// signal to answer it and to write its stacks, and replaced at once; it drains if its loop turns
// after that, and is killed if not. One that runs calls on threads gives the late ones up by
// itself.
#include <signal.h>

#include <algorithm>

#include "common/log.h"
#include "common/message_ids.h"
#include "common/request_note.h"
#include "daemon/manager/generation.h"

namespace green::manager {
namespace {

/// Time for a worker to answer and to write its stacks before SIGKILL.
constexpr std::uint64_t answer_grace_usec = 1'000'000;

}  // namespace

std::string Generation::what_it_served(const WorkerProcess& worker) const {
  const ScoreboardSlot& slot = context_.scoreboard.slot(worker.slot());
  const std::string request = noted_request(slot);
  const std::uint32_t all = slot.in_flight.load(std::memory_order_relaxed);
  const std::uint64_t since = slot.busy_since_usec.load(std::memory_order_relaxed);
  if (request.empty() || (since == 0 && all == 0)) return {};
  // WebSockets, and replies whose application is done, or sends on and on.
  if (since == 0) return fmt::format(", with {} in flight, the latest {}", all, request);
  const bool is_its_own = since == slot.heartbeat_usec.load(std::memory_order_relaxed);
  if (is_its_own || all < 2) return ", while it served " + request;
  return fmt::format(", while it served {} requests, the latest {}", all, request);
}

void Generation::forgive(std::uint64_t usec) {
  // What began since has lost nothing, and gets no more than its limit.
  const std::uint64_t now = monotonic_usec();
  const auto start_limit = static_cast<std::uint64_t>(settings_.start_timeout.count());
  const auto drain_limit = static_cast<std::uint64_t>(settings_.graceful_timeout.count());
  if (start_deadline_usec_ != 0)
    start_deadline_usec_ = std::min(start_deadline_usec_ + usec, now + start_limit);
  for (const auto& [slot, worker] : workers_) worker->forgive(usec, now + drain_limit);
}

void Generation::give_up_on(WorkerProcess& worker, std::uint64_t now_usec,
                            std::uint64_t beat_usec) {
  const bool was_wanted = !worker.expected_to_exit();
  log_event(message_id::request_timed_out, LogLevel::error,
            "worker {} (process {}) has not responded for {} s (timeout){}; replacing it",
            worker.slot(), worker.pid(), (now_usec - beat_usec) / 1'000'000,
            what_it_served(worker));
  worker.set_given_up_beat(beat_usec);
  worker.signal(worker_dump_signal());
  worker.signal(SIGCONT);  // one that was stopped answers too, and may finish what else it has
  if (was_wanted) {
    drain_worker(worker);
    if (state_ == GenerationState::serving) {
      ++unexpected_deaths_;
      replace_after_death("no response within timeout");  // it need not wait for the end
    }
  }
  worker.kill_unless(answer_grace_usec, [this, &worker, beat_usec] {
    const ScoreboardSlot& slot = context_.scoreboard.slot(worker.slot());
    return slot.heartbeat_usec.load(std::memory_order_relaxed) != beat_usec;
  });
  if (was_wanted && state_ == GenerationState::starting)
    fail_start(StartFailure::application,
               fmt::format("worker {} did not respond within timeout ({} s) before it served",
                           worker.slot(), settings_.timeout.count() / 1'000'000));
  context_.observer.generation_changed(*this);
}

void Generation::on_overdue(WorkerProcess& worker) {
  if (worker.expected_to_exit()) return;  // replaced already; it logs what it gives up
  worker.set_state(WorkerState::draining);
  worker.set_drain_deadline(monotonic_usec() +
                            static_cast<std::uint64_t>(settings_.graceful_timeout.count()));
  if (state_ == GenerationState::serving) {
    ++unexpected_deaths_;
    replace_after_death("a request outlived timeout");
  } else if (state_ == GenerationState::starting) {
    fail_start(StartFailure::application,
               fmt::format("the probe of {} was not answered within timeout", settings_.probe));
  }
  context_.observer.generation_changed(*this);
}

}  // namespace green::manager
