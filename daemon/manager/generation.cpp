// The start, the service and the end of a generation; what its processes say is in
// generation_events.cpp.
#include "daemon/manager/generation.h"

#include <signal.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "common/log.h"
#include "common/message_ids.h"

namespace green::manager {
namespace {

/// Forks asked of a zygote at a time: a channel holds a bounded number of messages.
constexpr std::uint32_t forks_at_once = 16;
/// A zygote does nothing but fork, one worker after the other: one that takes longer is stuck.
constexpr std::uint64_t fork_limit_usec = 10'000'000;
/// A zygote has nothing to finish.
constexpr std::uint64_t zygote_exit_usec = 5'000'000;
/// Time for a worker to write its stacks before SIGKILL.
constexpr std::uint64_t dump_grace_usec = 1'000'000;

std::uint64_t as_usec(Microseconds duration) {
  return static_cast<std::uint64_t>(duration.count());
}

bool is_ready(const WorkerProcess& worker) {
  return worker.state() == WorkerState::ready || worker.state() == WorkerState::serving;
}

}  // namespace

Generation::Generation(GenerationContext context, std::uint64_t number, Settings settings)
    : context_(std::move(context)), number_(number), settings_(std::move(settings)) {}

Generation::~Generation() {
  for (const auto& [slot, worker] : workers_) {
    if (worker->state() == WorkerState::forking) context_.children.release_unclaimed();
    context_.slots.release(slot);
  }
}

Result<void> Generation::start(std::uint32_t worker_count) {
  worker_count_ = worker_count;
  started_usec_ = monotonic_usec();
  if (settings_.start_timeout.count() > 0)
    start_deadline_usec_ = started_usec_ + as_usec(settings_.start_timeout);
  auto channel = make_channel();
  if (!channel) return fail(std::move(channel.error()));
  auto& [ours, theirs] = *channel;
  auto zygote =
      std::make_unique<WorkerProcess>(context_.loop, context_.children, 0, std::move(ours));
  if (auto listening = listen_to_zygote(*zygote); !listening) return listening;
  const auto pid = spawn_zygote({.program = context_.worker_program,
                                 .site = context_.site,
                                 .generation = number_,
                                 .channel = std::move(theirs)});
  if (!pid) return fail(pid.error());
  zygote_ = std::move(zygote);
  if (auto adopted = zygote_->adopt(*pid); !adopted) return adopted;
  log_debug("generation {}: zygote is process {}", number_, *pid);
  return send_spec();
}

Result<void> Generation::listen_to_zygote(WorkerProcess& zygote) {
  return zygote.listen({
      .message = [this](ReceivedMessage& received) { on_zygote_message(received); },
      .channel_closed = [] { /* its exit follows, and says more */ },
      .exited = [this](const ChildExit& child) { on_zygote_exited(child); },
  });
}

Result<void> Generation::listen_to_worker(WorkerProcess& worker) {
  const std::uint32_t slot = worker.slot();
  return worker.listen({
      .message = [this, slot](ReceivedMessage& received) { on_worker_message(slot, received); },
      .channel_closed = [this, slot] { on_worker_channel_closed(slot); },
      .exited = [this, slot](const ChildExit& child) { on_worker_exited(slot, child); },
  });
}

Result<void> Generation::send_spec() {
  auto settings = make_text_memfd("green-settings", settings_to_toml(settings_));
  if (!settings) return fail(std::move(settings.error()));
  Message message;
  message.type = MessageType::spec;
  message.spec.slot_count = context_.scoreboard.slot_count();
  message.spec.generation = number_;
  message.spec.listener_count = static_cast<std::uint32_t>(context_.listeners.size());
  context_.site.copy(message.spec.site.data(), message.spec.site.size() - 1);
  std::vector<int> descriptors{settings->get(), context_.scoreboard.fd()};
  descriptors.insert(descriptors.end(), context_.listeners.begin(), context_.listeners.end());
  return zygote_->send(message, descriptors);
}

void Generation::set_log_level(LogLevel level) {
  Message message;
  message.type = MessageType::log_level;
  message.code = static_cast<std::int32_t>(level);
  const auto tell = [&message](WorkerProcess& process) {
    // One whose channel is closed ends.
    if (auto sent = process.send(message, {}); !sent) log_debug("{}", sent.error().message());
  };
  if (zygote_) tell(*zygote_);
  for (const auto& [slot, worker] : workers_) tell(*worker);
}

void Generation::set_worker_count(std::uint32_t count) {
  worker_count_ = count;
  cancel_recycling();  // what is due still is at the next check
  fill();
  if (state_ == GenerationState::starting) maybe_ready();
}

std::uint32_t Generation::active_workers() const {
  return static_cast<std::uint32_t>(std::ranges::count_if(
      workers_, [](const auto& entry) { return !entry.second->expected_to_exit(); }));
}

std::uint32_t Generation::forking_workers() const {
  return static_cast<std::uint32_t>(std::ranges::count_if(
      workers_, [](const auto& entry) { return entry.second->state() == WorkerState::forking; }));
}

std::uint32_t Generation::ready_workers() const {
  return static_cast<std::uint32_t>(
      std::ranges::count_if(workers_, [](const auto& entry) { return is_ready(*entry.second); }));
}

bool Generation::settled() const {
  return ready_workers() == worker_count_ && active_workers() <= wanted_workers() &&
         std::ranges::all_of(workers_, [](const auto& entry) {
           return !entry.second->expected_to_exit() || entry.second->is_recycled();
         });
}

void Generation::fill() {
  if (state_ == GenerationState::draining || state_ == GenerationState::gone) return;
  const std::uint32_t active = active_workers();
  const std::uint32_t wanted = wanted_workers();
  if (active > wanted) {
    drain_surplus(active - wanted);
    return;
  }
  if (!imported_ || zygote_ == nullptr || monotonic_usec() < next_fork_usec_) return;
  std::uint32_t missing = wanted - active;
  while (missing > 0 && forking_workers() < forks_at_once) {
    if (auto asked = fork_worker(); !asked) {
      if (state_ == GenerationState::starting) {
        fail_start(StartFailure::application, asked.error().message());
      } else {
        replace_after_death(asked.error().message());
      }
      return;
    }
    --missing;
  }
}

Result<void> Generation::fork_worker() {
  const auto slot = context_.slots.take();
  if (!slot) return fail(ErrorCode::unavailable, "no free worker slot: old workers still drain");
  auto channel = make_channel();
  if (!channel) {
    context_.slots.release(*slot);
    return fail(std::move(channel.error()));
  }
  auto& [ours, theirs] = *channel;
  context_.scoreboard.reset_slot(*slot, number_);
  const WearLimits wear_limits = draw_wear_limits(settings_, random_);
  context_.scoreboard.slot(*slot).request_limit = wear_limits.requests;
  auto worker =
      std::make_unique<WorkerProcess>(context_.loop, context_.children, *slot, std::move(ours));
  worker->set_wear_limits(wear_limits);
  Message message;
  message.type = MessageType::fork_worker;
  message.slot = *slot;
  const int descriptor = theirs.get();
  auto asked = listen_to_worker(*worker);
  if (asked) asked = zygote_->send(message, {&descriptor, 1});
  if (!asked) {
    context_.slots.release(*slot);
    return fail(std::move(asked.error()).context("asking the zygote for a worker"));
  }
  context_.children.hold_unclaimed();
  workers_.emplace(*slot, std::move(worker));
  return {};
}

std::string Generation::start_phase() const {
  if (state_ != GenerationState::starting) return {};
  if (!imported_) return fmt::format("importing {}", settings_.app);
  if (probing_) return fmt::format("probing {}", settings_.probe);
  return fmt::format("starting workers: {} of {} ready", ready_workers(), worker_count_);
}

void Generation::drain_surplus(std::uint32_t surplus) {
  // Those that do not serve yet go first: who is being forked when it is there, and it may never
  // be ready. Then the highest numbers, so that the numbers stay dense.
  surplus -= std::min(surplus, forking_workers());
  for (const bool ready : {false, true}) {
    for (auto entry = workers_.rbegin(); entry != workers_.rend() && surplus > 0; ++entry) {
      WorkerProcess& worker = *entry->second;
      if (worker.expected_to_exit() || worker.state() == WorkerState::forking) continue;
      if (is_ready(worker) != ready) continue;
      drain_worker(worker);
      --surplus;
    }
  }
}

void Generation::drain_worker(WorkerProcess& worker, DrainPace pace) {
  // One that is being forked: when it is known, or when the zygote ends.
  if (worker.expected_to_exit() || worker.state() == WorkerState::forking) return;
  if (!is_ready(worker)) {
    worker.kill_now();  // it has nothing to finish
    return;
  }
  worker.set_state(WorkerState::draining);
  worker.set_drain_deadline(monotonic_usec() + as_usec(settings_.graceful_timeout));
  if (auto sent = worker.send_drain(pace); !sent)
    log_debug("worker {}: drain not sent: {}", worker.slot(), sent.error().message());
}

void Generation::serve() {
  ScoreboardHeader& header = context_.scoreboard.header();
  header.serving_generation.store(number_, std::memory_order_release);
  header.joining_generation.store(0, std::memory_order_release);
  start_serving();
}

void Generation::join() {
  context_.scoreboard.header().joining_generation.store(number_, std::memory_order_release);
  start_serving();
}

void Generation::part() {
  context_.scoreboard.header().joining_generation.store(0, std::memory_order_release);
}

void Generation::start_serving() {
  state_ = GenerationState::serving;
  for (const auto& [slot, worker] : workers_)
    if (worker->state() == WorkerState::ready) worker_became_ready(*worker);
  fill();
}

void Generation::drain(DrainPace pace) {
  if (state_ == GenerationState::gone) return;
  if (pace == DrainPace::prompt) {
    for (const auto& [slot, worker] : workers_)
      if (worker->state() == WorkerState::draining)
        if (auto sent = worker->send_drain(pace); !sent)
          log_debug("worker {}: drain not sent: {}", slot, sent.error().message());
  }
  if (state_ == GenerationState::draining) return;
  state_ = GenerationState::draining;
  fork_timer_ = {};
  if (zygote_) {
    zygote_->close_channel();  // it exits on that
    zygote_->kill_after(zygote_exit_usec);
  }
  for (const auto& [slot, worker] : workers_) drain_worker(*worker, pace);
  maybe_gone();
}

void Generation::kill() {
  if (state_ == GenerationState::gone) return;
  state_ = GenerationState::draining;
  fork_timer_ = {};
  if (zygote_) zygote_->kill_now();
  for (const auto& [slot, worker] : workers_)
    if (worker->state() != WorkerState::forking) worker->kill_now();
  maybe_gone();
}

void Generation::maybe_gone() {
  if (state_ != GenerationState::draining) return;
  // Workers asked for but never forked do not count: nobody is left to fork them.
  const bool all_gone = std::ranges::all_of(workers_, [](const auto& entry) {
    return entry.second->state() == WorkerState::forking || entry.second->pid() == 0;
  });
  if (zygote_ != nullptr || !all_gone) return;
  report_deaths_held_back(death_log_.take_held_back());
  state_ = GenerationState::gone;
  context_.observer.generation_gone(*this);
}

void Generation::remove_worker(std::uint32_t slot) {
  const auto found = workers_.find(slot);
  if (found == workers_.end()) return;
  const bool was_there = found->second->state() != WorkerState::forking;
  if (!was_there) context_.children.release_unclaimed();
  past_requests_ += context_.scoreboard.slot(slot).requests.load(std::memory_order_relaxed);
  context_.scoreboard.reset_slot(slot, 0);
  workers_.erase(found);
  context_.slots.release(slot);
  if (was_there) context_.observer.worker_removed(*this, slot);
}

void Generation::check(std::uint64_t now_usec, bool trust_heartbeats) {
  if (state_ == GenerationState::starting && start_deadline_usec_ != 0 &&
      now_usec > start_deadline_usec_) {
    start_deadline_usec_ = 0;
    const std::string text =
        fmt::format("the application was not ready after start_timeout ({} s): {}",
                    settings_.start_timeout.count() / 1'000'000,
                    imported_ ? "its workers do not start" : "it is still importing");
    if (zygote_ && !imported_)
      fail_start_with_stacks(*zygote_, text);
    else
      fail_start(StartFailure::application, text);
    return;
  }
  for (const auto& [slot, worker] : workers_) {
    if (worker->state() == WorkerState::forking && zygote_ != nullptr &&
        now_usec > std::max(worker->created_monotonic_usec(), last_fork_usec_) +
                       worker->forgiven_usec() + fork_limit_usec) {
      log_error("generation {}: the zygote (process {}) does not fork; killing it", number_,
                zygote_->pid());
      zygote_->kill_now();
      break;
    }
  }
  // A check may start replacements, so not over the map itself.
  std::vector<WorkerProcess*> present;
  for (const auto& [slot, worker] : workers_) present.push_back(worker.get());
  for (WorkerProcess* worker : present) check_worker(*worker, now_usec, trust_heartbeats);
  report_deaths_held_back(death_log_.take_held_back(now_usec));
  if (now_usec >= next_fork_usec_) fill();
  recycle(now_usec);
}

void Generation::check_worker(WorkerProcess& worker, std::uint64_t now_usec,
                              bool trust_heartbeats) {
  const ScoreboardSlot& slot = context_.scoreboard.slot(worker.slot());
  switch (worker.state()) {
    case WorkerState::forking:
    case WorkerState::killed:
      return;
    case WorkerState::starting:
      if (settings_.start_timeout.count() > 0 && now_usec > worker.started_monotonic_usec() +
                                                                worker.forgiven_usec() +
                                                                as_usec(settings_.start_timeout)) {
        log_error("worker {} (process {}) was not ready after start_timeout; killing it",
                  worker.slot(), worker.pid());
        worker.dump_and_kill(worker_dump_signal(), dump_grace_usec);
      }
      return;
    case WorkerState::draining:
      if (now_usec > worker.drain_deadline_usec()) {
        log_warning("worker {} (process {}) did not finish within graceful_timeout{}; killing it",
                    worker.slot(), worker.pid(), what_it_served(worker));
        worker.dump_and_kill(worker_dump_signal(), dump_grace_usec);
        return;
      }
      [[fallthrough]];
    case WorkerState::ready:
    case WorkerState::serving: {
      const std::uint64_t limit = as_usec(settings_.timeout);
      const std::uint64_t beat = slot.heartbeat_usec.load(std::memory_order_relaxed);
      if (limit == 0 || !trust_heartbeats || now_usec < beat + limit) return;
      if (beat != worker.given_up_beat_usec()) give_up_on(worker, now_usec, beat);
      return;
    }
  }
}

}  // namespace green::manager
