// Manager: what the workers are answering.
#include <algorithm>
#include <utility>

#include "common/request_note.h"
#include "daemon/manager/manager.h"

namespace green::manager {
namespace {

/// One that is in a call that holds up its loop need not be asked: which it is, is known.
bool is_in_call(const ScoreboardSlot& board) {
  const std::uint64_t since = board.busy_since_usec.load(std::memory_order_relaxed);
  return since != 0 && since == board.heartbeat_usec.load(std::memory_order_relaxed);
}

bool answers_questions(WorkerState state) {
  return state == WorkerState::ready || state == WorkerState::serving ||
         state == WorkerState::draining;
}

}  // namespace

std::vector<RequestStatus> Manager::requests() const {
  std::vector<RequestStatus> all;
  for (const WorkerStatus& worker : workers()) {
    const ScoreboardSlot& board = scoreboard_.slot(worker.slot);
    const bool is_running = worker.busy_since_usec != 0;
    if (worker.in_flight == 0 && !is_running) continue;
    all.push_back({.slot = worker.slot,
                   .pid = worker.pid,
                   .generation = worker.generation,
                   .since_usec = worker.busy_since_usec,
                   .count = std::max(worker.in_flight, 1U),
                   .request = noted_request(board),
                   .client = noted_client(board),
                   .state = is_running ? "running" : "replying"});
  }
  return all;
}

void Manager::ask_requests(std::function<void(const std::vector<RequestStatus>&)> done) {
  const auto workers = [this] {
    std::vector<WorkerProcess*> asked;
    for_each_generation([&](const Generation& generation) {
      for (const auto& [slot, worker] : generation.workers())
        if (answers_questions(worker->state()) && !is_in_call(scoreboard_.slot(slot)))
          asked.push_back(worker.get());
    });
    return asked;
  };
  survey_.ask(workers, [this, done = std::move(done)](const RequestSurvey::Answers& answers) {
    std::vector<RequestStatus> all;
    for (const WorkerStatus& worker : this->workers()) {
      if (const auto found = answers.lists.find(worker.pid); found != answers.lists.end())
        add_answered(worker, found->second, all);
      else if (is_in_call(scoreboard_.slot(worker.slot)))
        add_call(worker, all);
      else if (answers.silent.contains(worker.pid))
        add_unanswered(worker, all);
    }
    done(all);
  });
}

void Manager::add_answered(const WorkerStatus& worker, const RequestList& list,
                           std::vector<RequestStatus>& all) {
  RequestStatus row{
      .slot = worker.slot, .pid = worker.pid, .generation = worker.generation, .count = 1};
  for (const ListedRequest& one : list.requests) {
    row.since_usec = one.since_usec;
    row.request = one.request;
    row.client = one.client;
    row.state = request_state_name(one.state);
    all.push_back(row);
  }
  if (list.unlisted > 0) add_rest(worker, list.unlisted, all);
}

void Manager::add_rest(const WorkerStatus& worker, std::uint64_t count,
                       std::vector<RequestStatus>& all) {
  all.push_back({.slot = worker.slot,
                 .pid = worker.pid,
                 .generation = worker.generation,
                 .count = static_cast<std::uint32_t>(count),
                 .state = "more"});
}

void Manager::add_call(const WorkerStatus& worker, std::vector<RequestStatus>& all) const {
  const ScoreboardSlot& board = scoreboard_.slot(worker.slot);
  all.push_back({.slot = worker.slot,
                 .pid = worker.pid,
                 .generation = worker.generation,
                 .since_usec = worker.busy_since_usec,
                 .count = 1,
                 .request = noted_request(board),
                 .client = noted_client(board),
                 .state = std::string(request_state_name(RequestState::running))});
  if (worker.in_flight > 1) add_rest(worker, worker.in_flight - 1, all);
}

void Manager::add_unanswered(const WorkerStatus& worker, std::vector<RequestStatus>& all) const {
  const ScoreboardSlot& board = scoreboard_.slot(worker.slot);
  const bool has_any = worker.in_flight > 0;
  all.push_back({.slot = worker.slot,
                 .pid = worker.pid,
                 .generation = worker.generation,
                 .since_usec = worker.busy_since_usec,
                 .count = worker.in_flight,
                 .request = has_any ? noted_request(board) : std::string(),
                 .client = has_any ? noted_client(board) : std::string(),
                 .state = "unanswered"});
}

}  // namespace green::manager
