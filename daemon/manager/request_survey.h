// RequestSurvey: asks all workers at once which requests they have, and waits for those whose loops
// turn. Any number of callers share one round of questions. greend's thread.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <vector>

#include "common/request_list.h"
#include "common/worker_channel.h"
#include "daemon/manager/event_loop.h"

namespace green::manager {

class WorkerProcess;

class RequestSurvey {
 public:
  struct Answers {
    std::map<pid_t, RequestList> lists{};  ///< of those that answered
    std::set<pid_t> silent{};              ///< of those that were asked, and did not in time
  };
  using Done = std::function<void(const Answers&)>;
  using Workers = std::function<std::vector<WorkerProcess*>()>;

  explicit RequestSurvey(EventLoop& loop) : loop_(loop) {}

  /// Calls back once, at once or later. `workers`: whom to ask, if nobody is being asked already
  /// and there are no answers as good as new.
  void ask(const Workers& workers, Done done);
  /// A worker sent MessageType::requests.
  void answered(pid_t pid, const ReceivedMessage& received);
  /// It will not answer any more.
  void ended(pid_t pid);

 private:
  void finish();
  void finish_if_complete();

  EventLoop& loop_;
  std::int32_t number_ = 0;
  std::uint64_t finished_usec_ = 0;
  std::set<pid_t> asked_;
  Answers answers_;
  std::vector<Done> waiting_;
  EventSource limit_;
};

}  // namespace green::manager
