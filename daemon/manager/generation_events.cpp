// Generation: what its zygote and workers say, and how they end.
#include <fmt/ranges.h>
#include <signal.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <string>
#include <utility>

#include "common/log.h"
#include "common/message_ids.h"
#include "daemon/manager/generation.h"

namespace green::manager {
namespace {

/// The text that came with a message, or what went wrong in reading it.
std::string text_of(const ReceivedMessage& received) {
  if (received.descriptors.empty()) return {};
  auto text = read_text(received.descriptors.front().get());
  if (!text) return text.error().message();
  return std::move(*text);
}

/// Time for a process to write its Python stacks before it is killed.
constexpr std::uint64_t stacks_usec = 200'000;

/// One may have had bad luck.
constexpr std::uint32_t hopeless_starts = 3;

bool is_unready(WorkerState state) {
  return state == WorkerState::forking || state == WorkerState::starting;
}

/// `expected`: "204", or a class such as "2xx".
bool is_expected_status(const StringList& expected, int status) {
  const std::string text = std::to_string(status);
  return std::ranges::any_of(expected, [&text](const std::string& one) {
    return one == text || (one.ends_with("xx") && text.size() == 3 && one[0] == text[0]);
  });
}

}  // namespace

void Generation::on_zygote_message(ReceivedMessage& received) {
  const Message& message = received.message;
  switch (message.type) {
    case MessageType::imported: {
      if (const std::string warnings = text_of(received); !warnings.empty())
        log_warning("generation {}: {}", number_, warnings);
      imported_ = true;
      fill();
      context_.observer.generation_changed(*this);
      return;
    }
    case MessageType::import_failed:
      fail_start(static_cast<StartFailure>(message.code), text_of(received));
      return;
    case MessageType::forked:
      on_forked(message.slot, message.pid);
      return;
    case MessageType::fork_failed:
      on_fork_failed(message.slot, message.code);
      return;
    default:
      log_error("generation {}: the zygote sent a message of unknown type {}", number_,
                static_cast<std::uint32_t>(message.type));
  }
}

void Generation::on_forked(std::uint32_t slot, pid_t pid) {
  const auto found = workers_.find(slot);
  if (found == workers_.end() || found->second->state() != WorkerState::forking) {
    log_error("generation {}: the zygote forked process {} that nobody asked for", number_, pid);
    return;
  }
  WorkerProcess& worker = *found->second;
  const auto adopted = worker.adopt(pid);
  if (!adopted) {
    on_fork_failed(slot, adopted.error().errno_value());
    return;
  }
  last_fork_usec_ = monotonic_usec();
  context_.children.release_unclaimed();
  log_debug("generation {}: worker {} is process {}", number_, slot, pid);
  context_.observer.worker_added(*this, slot);
  if (state_ == GenerationState::draining) {
    worker.kill_now();
    return;
  }
  if (worker.ready_early()) worker_became_ready(worker);
  fill();
}

void Generation::on_fork_failed(std::uint32_t slot, int error) {
  remove_worker(slot);
  const std::string how = fmt::format("fork: {}", std::strerror(error));
  log_error("generation {}: worker {} could not be forked: {}", number_, slot,
            std::strerror(error));
  if (state_ == GenerationState::starting) {
    fail_start(StartFailure::application, how);
  } else {
    replace_after_death(how);
    context_.observer.generation_changed(*this);
  }
}

void Generation::on_worker_message(std::uint32_t slot, ReceivedMessage& received) {
  const auto found = workers_.find(slot);
  if (found == workers_.end()) return;
  WorkerProcess& worker = *found->second;
  switch (received.message.type) {
    case MessageType::ready:
      if (!received.descriptors.empty())
        worker.set_stacks_socket(std::move(received.descriptors.front()));
      if (worker.expected_to_exit()) return;
      // A worker can be set up before its zygote has said which process it is.
      if (worker.state() == WorkerState::forking) {
        worker.set_ready_early();
        return;
      }
      worker_became_ready(worker);
      return;
    case MessageType::start_failed: {
      const std::string text = text_of(received);
      if (state_ == GenerationState::starting) {
        fail_start(static_cast<StartFailure>(received.message.code), text);
      } else if (!start_failed_) {
        log_error("worker {} could not load the application:\n{}", slot, text);
      }
      return;
    }
    case MessageType::draining:
      // An answer, or its own wish.
      if (!worker.expected_to_exit()) on_ended_itself(worker);
      return;
    case MessageType::overdue:
      on_overdue(worker);
      return;
    case MessageType::due:
      recycle(monotonic_usec());
      return;
    case MessageType::probed:
      on_probed(received);
      return;
    case MessageType::requests:
      context_.survey.answered(worker.pid(), received);
      return;
    default:
      log_error("worker {} sent a message of unknown type {}", slot,
                static_cast<std::uint32_t>(received.message.type));
  }
}

void Generation::on_ended_itself(WorkerProcess& worker) {
  worker.set_state(WorkerState::draining);
  worker.set_drain_deadline(monotonic_usec() +
                            static_cast<std::uint64_t>(settings_.graceful_timeout.count()));
  const std::string how = "it ended itself: SIGTERM, not sent by greend";
  if (state_ == GenerationState::starting) {
    fail_start(StartFailure::application, fmt::format("a worker could not start: {}", how));
    return;
  }
  if (death_log_.admits(monotonic_usec()))
    log_notice("worker {} (process {}) finishes what it has: {}", worker.slot(), worker.pid(), how);
  if (state_ == GenerationState::serving)
    replace_after_death(how);
  else
    fill();
  context_.observer.generation_changed(*this);
}

void Generation::worker_became_ready(WorkerProcess& worker) {
  worker.set_state(WorkerState::ready);
  ended_unready_ = 0;
  if (state_ == GenerationState::serving) {
    if (auto sent = worker.send(MessageType::serve); !sent) {
      worker.set_state(WorkerState::starting);  // it will not serve: its end follows
      if (sent.error().code() == ErrorCode::unavailable || sent.error().errno_value() == EPIPE)
        log_debug("worker {}: {}", worker.slot(), sent.error().message());
      else
        log_error("worker {}: {}", worker.slot(), sent.error().message());
      return;
    }
    worker.set_state(WorkerState::serving);
    drain_replaced();
  }
  maybe_ready();
  context_.observer.generation_changed(*this);
}

void Generation::maybe_ready() {
  if (state_ != GenerationState::starting || start_failed_ || probing_) return;
  if (ready_workers() < worker_count_) return;
  if (settings_.probe.empty()) {
    became_ready();
    return;
  }
  probe();
}

void Generation::probe() {
  const auto prober = std::ranges::find_if(
      workers_, [](const auto& entry) { return entry.second->state() == WorkerState::ready; });
  if (auto sent = prober->second->send(MessageType::probe); !sent) {
    fail_start(StartFailure::application, sent.error().message());
    return;
  }
  probing_ = true;
  const auto limit = static_cast<std::uint64_t>(settings_.probe_timeout.count());
  if (limit == 0) return;
  auto timer = context_.loop.add_timer(monotonic_usec() + limit, [this, slot = prober->first] {
    const auto found = workers_.find(slot);
    if (!probing_ || found == workers_.end()) return;
    fail_start_with_stacks(
        *found->second,
        fmt::format("the probe of {} was not answered within probe_timeout "
                    "({:g} s)",
                    settings_.probe,
                    std::chrono::duration<double>(settings_.probe_timeout).count()));
  });
  if (timer) {
    start_timer_ = std::move(*timer);
  } else {
    fail_start(StartFailure::application, timer.error().message());
  }
}

void Generation::on_probed(ReceivedMessage& received) {
  if (!std::exchange(probing_, false) || !start_verdict_.empty()) return;
  start_timer_ = {};
  if (state_ != GenerationState::starting) return;
  const int status = received.message.code;
  if (is_expected_status(settings_.probe_status, status)) {
    became_ready();
    return;
  }
  std::string text = fmt::format("the probe of {} was answered with status {} (probe_status = {})",
                                 settings_.probe, status, fmt::join(settings_.probe_status, ", "));
  if (status < 100)
    text = fmt::format("the application raised on the probe of {}", settings_.probe);
  if (const std::string traceback = text_of(received); !traceback.empty()) text += "\n" + traceback;
  fail_start(StartFailure::application, text);
}

void Generation::fail_start_with_stacks(WorkerProcess& process, std::string text) {
  start_verdict_ = std::move(text);
  process.signal(worker_dump_signal());
  auto timer = context_.loop.add_timer(monotonic_usec() + stacks_usec,
                                       [this] { fail_start(StartFailure::application, {}); });
  if (timer) {
    start_timer_ = std::move(*timer);
  } else {
    fail_start(StartFailure::application, {});
  }
}

void Generation::became_ready() {
  state_ = GenerationState::ready;
  context_.observer.generation_ready(*this);
}

void Generation::fail_start(StartFailure kind, std::string text) {
  if (start_failed_ || state_ != GenerationState::starting) return;
  start_failed_ = true;
  // A process may die of the request for its stacks: that is not why the start failed.
  if (!start_verdict_.empty()) text = start_verdict_;
  context_.observer.generation_failed(*this, kind, std::move(text));
}

void Generation::on_worker_channel_closed(std::uint32_t slot) {
  const auto found = workers_.find(slot);
  if (found == workers_.end() || found->second->pid() == 0) return;
  // Its exit follows at once, or it can't be steered any more. Not a wish of ours: the exit counts
  // as a death.
  WorkerProcess& worker = *found->second;
  if (!worker.expected_to_exit()) worker.kill_after(1'000'000);
}

void Generation::on_worker_exited(std::uint32_t slot, const ChildExit& child) {
  const auto found = workers_.find(slot);
  if (found == workers_.end()) return;
  const bool expected = found->second->expected_to_exit();
  const bool serving = state_ == GenerationState::serving;
  const std::string how = expected ? child.text()
                                   : explained(child, found->second->was_killed(),
                                               "it had closed its channel to greend");
  if (expected) {
    log_debug("worker {} (process {}) ended: {}", slot, child.pid, child.text());
  } else if (!start_failed_) {
    ++unexpected_deaths_;
    if (is_unready(found->second->state())) ++ended_unready_;
    if (death_log_.admits(monotonic_usec()))
      log_event(message_id::worker_died, LogLevel::warning,
                "worker {} (process {}) ended unexpectedly: {}{}{}", slot, child.pid, how,
                what_it_served(*found->second), serving ? "; replacing it" : "");
  }
  remove_worker(slot);
  context_.survey.ended(child.pid);
  if (state_ == GenerationState::starting && !expected) {
    fail_start(StartFailure::application, fmt::format("a worker ended while it started: {}", how));
  } else if (serving && !expected) {
    replace_after_death(child.text());
  } else {
    fill();
  }
  context_.observer.generation_changed(*this);
  maybe_gone();
}

void Generation::replace_after_death(const std::string& how) {
  last_death_ = how;
  const std::uint64_t now = monotonic_usec();
  const std::uint64_t delay = backoff_.on_death(now, worker_count_);
  if (delay == 0) {
    fill();
    return;
  }
  if (now >= next_fork_usec_)
    log_event(message_id::restarts_held_back, LogLevel::warning,
              "workers keep dying ({}): the next is started in {} s", how, delay / 1'000'000);
  next_fork_usec_ = now + delay;
  auto timer = context_.loop.add_timer(next_fork_usec_, [this] {
    next_fork_usec_ = 0;
    fill();
    context_.observer.generation_changed(*this);
  });
  if (!timer) {
    log_error("{}", timer.error().message());
    return;  // check() fills
  }
  fork_timer_ = std::move(*timer);
}

std::string Generation::trouble(std::uint64_t now_usec) const {
  if (now_usec >= next_fork_usec_) return {};
  return fmt::format("workers keep dying ({}), next start in {} s", last_death_,
                     (next_fork_usec_ - now_usec + 999'999) / 1'000'000);
}

std::string Generation::start_trouble() const {
  if (ended_unready_ < hopeless_starts) return {};
  return fmt::format("{} workers in a row ended before they were ready, the last with {}",
                     ended_unready_, last_death_);
}

void Generation::report_deaths_held_back(std::uint64_t count) {
  if (count == 0) return;
  log_warning("generation {}: {} more deaths of workers were not logged one by one; the last: {}",
              number_, count, last_death_);
}

std::string Generation::explained(const ChildExit& child, bool was_killed,
                                  std::string_view why) const {
  if (!child.by_signal || child.value != SIGKILL) return child.text();
  if (was_killed) return fmt::format("{}, by greend: {}", child.text(), why);
  return fmt::format("{}, {}", child.text(), context_.oom_kills.explain_kill());
}

void Generation::on_zygote_exited(const ChildExit& child) {
  const std::string how =
      explained(child, zygote_ != nullptr && zygote_->was_killed(), "it did not fork");
  zygote_.reset();
  // What was asked of it will not come, and a worker it forked unreported ends with its channel.
  std::vector<std::uint32_t> never_forked;
  for (const auto& [slot, worker] : workers_)
    if (worker->state() == WorkerState::forking) never_forked.push_back(slot);
  for (const std::uint32_t slot : never_forked) remove_worker(slot);
  if (state_ == GenerationState::starting) {
    fail_start(StartFailure::application,
               fmt::format("the process that imports the application ended: {}", how));
  } else if (state_ == GenerationState::ready || state_ == GenerationState::serving) {
    context_.observer.zygote_lost(*this, how);
  }
  context_.observer.generation_changed(*this);
  maybe_gone();
}

}  // namespace green::manager
