// Manager: what it says of itself, by status line, D-Bus and notify.
#include <fmt/format.h>

#include <algorithm>

#include "daemon/manager/manager.h"

namespace green::manager {

namespace {

/// FNV-1a, 64 bit: tells settings apart, and hides nothing.
std::string hash_of(std::string_view text) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return fmt::format("{:016x}", hash);
}

}  // namespace

std::string_view site_state_name(SiteState state) {
  switch (state) {
    case SiteState::starting:
      return "starting";
    case SiteState::serving:
      return "serving";
    case SiteState::reloading:
      return "reloading";
    case SiteState::drained:
      return "drained";
    case SiteState::stopping:
      return "stopping";
  }
  return "unknown";
}

std::string_view job_result_name(JobResult result) {
  switch (result) {
    case JobResult::done:
      return "done";
    case JobResult::failed:
      return "failed";
    case JobResult::cancelled:
      return "cancelled";
  }
  return "unknown";
}

void Manager::for_each_generation(const std::function<void(const Generation&)>& visit) const {
  if (serving_) visit(*serving_);
  if (candidate_) visit(*candidate_);
  for (const auto& generation : retired_) visit(*generation);
}

std::string Manager::status_line() const {
  if (stopping_) {
    std::size_t workers = 0;
    for (const auto& generation : retired_) workers += generation->workers().size();
    return fmt::format("stopping: {} workers finish their requests", workers);
  }
  std::string line;
  if (serving_) {
    const std::uint32_t ready = serving_->ready_workers();
    line = drained_ ? fmt::format("generation {}: drained, connections wait", serving_->number())
           : ready == serving_->worker_count()
               ? fmt::format("generation {}: {} workers ready", serving_->number(), ready)
               : fmt::format("generation {}: {} of {} workers ready", serving_->number(), ready,
                             serving_->worker_count());
    if (const std::string trouble = serving_->trouble(monotonic_usec()); !trouble.empty())
      line += "; " + trouble;
  }
  if (rolling_) {
    line += fmt::format("; rolling to generation {}: {} of {} workers replaced",
                        candidate_->number(), candidate_->ready_workers(), target_workers_);
  } else if (candidate_) {
    if (!line.empty()) line += "; ";
    line +=
        fmt::format("starting generation {}: {}", candidate_->number(), candidate_->start_phase());
    // In steps, so that a long import is seen to go on, and not every second is an event.
    constexpr std::uint64_t step_seconds = 10;
    const std::uint64_t seconds = (monotonic_usec() - candidate_->started_usec()) / 1'000'000;
    if (seconds >= step_seconds)
      line += fmt::format(", for {} s now", seconds - seconds % step_seconds);
  }
  if (!retired_.empty()) {
    std::size_t draining = 0;
    for (const auto& generation : retired_) draining += generation->workers().size();
    if (draining > 0) line += fmt::format("; {} old workers draining", draining);
  }
  if (last_reload_result_ == "failed") line += "; last reload failed";
  return line;
}

void Manager::update_status() {
  const std::string line = status_line();
  if (line == notify_.status_text()) return;
  notify_.status(line);
  if (observer_ != nullptr) observer_->site_changed();
}

SiteStatus Manager::status() const {
  SiteStatus status{
      .site = options_.site,
      .state = stopping_               ? SiteState::stopping
               : serving_ == nullptr   ? SiteState::starting
               : candidate_ != nullptr ? SiteState::reloading
               : drained_              ? SiteState::drained
                                       : SiteState::serving,
      .status_text = status_line(),
      .application = current_.values.app,
      .config_file = options_.sources.file ? options_.sources.file->string() : "",
      .config_hash = hash_of(settings_to_toml(current_.values)),
      .listeners = listener_addresses_,
      .generation = serving_ ? serving_->number() : 0,
      .target_workers = target_workers_,
      .ready_workers =
          (serving_ ? serving_->ready_workers() : 0) + (rolling_ ? candidate_->ready_workers() : 0),
      .requests_total = past_requests_,
      .worker_deaths_total = past_deaths_,
      .started_realtime_usec = started_realtime_usec_,
      .started_monotonic_usec = started_monotonic_usec_,
      .last_reload_realtime_usec = last_reload_realtime_usec_,
      .last_reload_result = last_reload_result_,
  };
  for_each_generation([&](const Generation& generation) {
    status.requests_total += generation.past_requests();
    status.worker_deaths_total += generation.unexpected_deaths();
    for (const auto& [slot, worker] : generation.workers()) {
      const ScoreboardSlot& board = scoreboard_.slot(slot);
      status.requests_total += board.requests.load(std::memory_order_relaxed);
      if (board.busy_since_usec.load(std::memory_order_relaxed) != 0) ++status.busy_workers;
      if (worker->state() == WorkerState::draining) ++status.draining_workers;
    }
  });
  return status;
}

WorkerStatus Manager::status_of(const Generation& generation, const WorkerProcess& worker) const {
  const ScoreboardSlot& board = scoreboard_.slot(worker.slot());
  return {
      .slot = worker.slot(),
      .pid = worker.pid(),
      .generation = generation.number(),
      .state = std::string(worker_state_name(worker.state())),
      .started_realtime_usec = worker.started_realtime_usec(),
      .busy_since_usec = board.busy_since_usec.load(std::memory_order_relaxed),
      .requests = board.requests.load(std::memory_order_relaxed),
      .connections = board.connections.load(std::memory_order_relaxed),
      .in_flight = board.in_flight.load(std::memory_order_relaxed),
  };
}

std::vector<WorkerStatus> Manager::workers() const {
  std::vector<WorkerStatus> all;
  for_each_generation([&](const Generation& generation) {
    for (const auto& [slot, worker] : generation.workers())
      if (worker->state() != WorkerState::forking) all.push_back(status_of(generation, *worker));
  });
  std::ranges::sort(all, {}, &WorkerStatus::slot);
  return all;
}

std::optional<WorkerStatus> Manager::worker(std::uint32_t slot) const {
  std::optional<WorkerStatus> status;
  for_each_generation([&](const Generation& generation) {
    const auto found = generation.workers().find(slot);
    if (found != generation.workers().end() && found->second->state() != WorkerState::forking)
      status = status_of(generation, *found->second);
  });
  return status;
}

WorkerProcess* Manager::find_worker(pid_t pid) const {
  WorkerProcess* found = nullptr;
  for_each_generation([&](const Generation& generation) {
    if (WorkerProcess* const worker = generation.find_worker(pid); worker != nullptr)
      found = worker;
  });
  return found;
}

void Manager::set_log_level(LogLevel level) {
  log_set_level(level);
  for (Generation* const generation : {serving_.get(), candidate_.get()})
    if (generation != nullptr) generation->set_log_level(level);
  for (const auto& generation : retired_) generation->set_log_level(level);
}

Usage Manager::usage(pid_t pid) {
  return find_worker(pid) == nullptr ? Usage{} : usage_.of(pid, monotonic_usec());
}

Result<std::string> Manager::describe_settings(bool running) const {
  if (running) return green::describe_settings(current_);
  const auto loaded = load_settings(options_.sources);
  if (!loaded) return fail(loaded.error());
  return green::describe_settings(*loaded, &current_.values);
}

}  // namespace green::manager
