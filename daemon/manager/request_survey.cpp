#include "daemon/manager/request_survey.h"

#include <utility>

#include "common/log.h"
#include "common/scoreboard.h"
#include "daemon/manager/worker_process.h"

namespace green::manager {
namespace {

/// A loop that turns answers in milliseconds.
constexpr std::uint64_t limit_usec = 500'000;
/// However often it is asked for, workers are not asked more often.
constexpr std::uint64_t fresh_usec = 50'000;

}  // namespace

void RequestSurvey::ask(const Workers& workers, Done done) {
  waiting_.push_back(std::move(done));
  if (waiting_.size() > 1) return;
  const std::uint64_t now = monotonic_usec();
  if (now < finished_usec_ + fresh_usec) return finish();
  answers_ = {};
  asked_.clear();
  Message question;
  question.type = MessageType::list_requests;
  question.code = ++number_;
  for (WorkerProcess* const worker : workers()) {
    if (auto sent = worker->send(question, {}); sent)
      asked_.insert(worker->pid());
    else
      log_debug("worker {}: {}", worker->slot(), sent.error().message());
  }
  auto timer = loop_.add_timer(now + limit_usec, [this] { finish(); });
  if (!timer) {
    log_error("{}", timer.error().message());
    return finish();
  }
  limit_ = std::move(*timer);
  finish_if_complete();
}

void RequestSurvey::answered(pid_t pid, const ReceivedMessage& received) {
  if (received.message.code != number_ || asked_.erase(pid) == 0) return;  // too late
  const auto text = received.descriptors.empty()
                        ? fail(ErrorCode::protocol, "an answer without its text")
                        : read_text(received.descriptors.front().get());
  auto list = text ? request_list_from_text(*text) : fail(text.error());
  if (list)
    answers_.lists.insert_or_assign(pid, std::move(*list));
  else
    log_error("process {}: {}", pid, list.error().message());
  if (!list) answers_.silent.insert(pid);
  finish_if_complete();
}

void RequestSurvey::ended(pid_t pid) {
  answers_.lists.erase(pid);
  if (asked_.erase(pid) > 0) finish_if_complete();
}

void RequestSurvey::finish_if_complete() {
  if (asked_.empty() && !waiting_.empty()) finish();
}

void RequestSurvey::finish() {
  limit_ = {};
  answers_.silent.merge(asked_);
  asked_.clear();
  if (const std::uint64_t now = monotonic_usec(); now >= finished_usec_ + fresh_usec)
    finished_usec_ = now;
  for (const Done& done : std::exchange(waiting_, {})) done(answers_);
}

}  // namespace green::manager
