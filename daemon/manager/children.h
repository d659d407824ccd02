// Children: reaps every child of greend, adopted orphans of the application's included (greend is
// the child subreaper), and tells each known child's owner how it ended. greend's thread.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "daemon/manager/event_loop.h"

namespace green::manager {

/// How a process ended, as waitid(2) said it.
struct ChildExit {
  pid_t pid = 0;
  bool by_signal = false;
  bool core_dumped = false;
  int value = 0;  ///< exit status or signal number

  bool clean() const { return !by_signal && value == 0; }
  /// "exit status 3", "signal 9 (KILL)", "signal 11 (SEGV), core dumped".
  std::string text() const;
};

class Children {
 public:
  using Callback = std::function<void(const ChildExit&)>;

  /// Makes this process the child subreaper. SIGCHLD must be blocked.
  static Result<Children> create(EventLoop& loop);

  /// Calls back once when `pid`, a child of ours, has ended; never from within this call. Also if
  /// it ended before: an unknown child's end is remembered while hold_unclaimed() is in force.
  void watch(pid_t pid, Callback callback);
  void forget(pid_t pid);

  /// Between asking a zygote for a worker and learning its pid, that pid may already have ended.
  void hold_unclaimed();
  void release_unclaimed();

  /// Reaps all that has ended; runs on SIGCHLD.
  void reap();

  /// At the exit, without the loop: ends what is left, which is what the application forked, what
  /// outlived its worker, and of those watched who are on their way out. SIGTERM, and SIGKILL after
  /// `grace`; waits for twice that at most.
  void end_remaining(std::chrono::milliseconds grace);

 private:
  Children() = default;
  struct State;
  // shared with the SIGCHLD callback, so that a Children can be moved.
  std::shared_ptr<State> state_;
  EventSource signal_;
};

}  // namespace green::manager
