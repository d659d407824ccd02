// WorkerMeter: what a worker's server does, written to its scoreboard slot, and whether it may
// accept. Loop thread, the slot's only writer: plain stores suffice.
#pragma once

#include "common/scoreboard.h"
#include "daemon/http/server.h"
#include "python/runtime.h"

namespace green::worker {

class WorkerMeter final : public http::ServerObserver {
 public:
  /// Takes the slot over for this process.
  WorkerMeter(const Scoreboard& scoreboard, std::uint32_t slot, std::uint64_t generation);

  /// False once only another generation serves, or connections are left to other workers.
  bool may_accept() override;
  /// Beside the workers of this generation that could take a connection now.
  http::Share share() override;
  void connection_opened() override;
  void connection_closed() override;
  void call_begins(std::uint64_t now_usec, const http::Request& request) override;
  void call_ended() override;
  void request_done() override;

  void leave_connections_to_others() { leaves_connections_ = true; }
  void heartbeat(std::uint64_t now_usec);
  /// Calls go on after call_ended() (threads = N): from here on, update() says what is under way.
  /// `on_one_thread`: as tasks, so that a call that takes long holds up no other.
  void follow_calls(bool on_one_thread) {
    follows_calls_ = true;
    follows_tasks_ = on_one_thread;
  }
  /// The heartbeat is the loop's own: the worker itself gives up the calls that outlive `timeout`.
  void update(std::uint64_t now_usec, const python::CallsUnderWay& calls);
  /// It has answered as many requests as greend allows it.
  bool is_due() const;
  void set_memory(std::uint64_t bytes);
  /// What the worker does between requests: starting, idle or draining.
  void set_resting(WorkerActivity activity);

 private:
  const Scoreboard& scoreboard_;
  ScoreboardHeader& header_;
  ScoreboardSlot& slot_;
  std::uint64_t generation_;
  WorkerActivity resting_ = WorkerActivity::starting;
  bool follows_calls_ = false;
  bool follows_tasks_ = false;
  bool leaves_connections_ = false;
};

}  // namespace green::worker
