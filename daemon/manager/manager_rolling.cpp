// Manager: a rolling reload. The new generation starts with one worker; once that one has answered
// the probe, old workers are replaced one by one: an old one drains, and only when it has ended is
// another new one forked. Both generations serve meanwhile. What it needs of memory beyond the
// site's own is one more import (the new zygote's, which its workers share) and one more worker. A
// new worker that fails before all old ones are replaced ends it: the old generation gets its
// workers back.
#include <fmt/format.h>

#include <utility>

#include "common/log.h"
#include "daemon/manager/manager.h"

namespace green::manager {

void Manager::begin_roll() {
  workers_before_roll_ = serving_->worker_count();
  candidate_->join();
  rolling_ = true;
  log_notice("generation {} serves beside generation {}, and replaces it worker by worker",
             candidate_->number(), serving_->number());
  roll();
}

void Manager::roll() {
  if (!candidate_->last_death().empty() || !candidate_->has_zygote()) {
    roll_back(candidate_->last_death().empty() ? "its zygote ended" : candidate_->last_death());
    return;
  }
  const std::uint32_t replaced = candidate_->worker_count();
  report_progress(
      fmt::format("replacing workers: {} of {}", candidate_->ready_workers(), target_workers_));
  const bool old_one_is_gone = serving_->workers().size() <= serving_->worker_count();
  if (!candidate_->settled() || !old_one_is_gone) return;
  if (replaced >= target_workers_) {
    switch_to_candidate();
    return;
  }
  const std::uint32_t left = target_workers_ - replaced;
  if (serving_->worker_count() > left) serving_->set_worker_count(left);
  // Without a zygote it may have had fewer than it should: then none has to go first.
  if (serving_->workers().size() <= left) candidate_->set_worker_count(replaced + 1);
}

void Manager::roll_back(const std::string& why) {
  rolling_ = false;
  const std::string message =
      fmt::format("a worker of generation {} failed after {} of {} were replaced: {}",
                  candidate_->number(), candidate_->ready_workers(), target_workers_, why);
  candidate_->part();
  retire(std::move(candidate_));
  serving_->set_worker_count(workers_before_roll_);
  finish_reload(JobResult::failed, message);
}

}  // namespace green::manager
