// StackDump: the Python stacks of a worker that goes on running. The worker takes the end of a pipe
// from its stacks socket, in a signal handler, so that it answers whatever its code is doing, and
// writes until it closes it. greend's thread.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "common/fd.h"
#include "daemon/manager/event_loop.h"

namespace green::manager {

class StackDump {
 public:
  using Done = std::function<void(Result<std::string>)>;

  /// Sends a pipe to `stacks_socket`, signals by `signal`, and calls back once, later: with what
  /// was written, or that nothing came in time. Must not be destroyed by the callback.
  static Result<std::unique_ptr<StackDump>> start(EventLoop& loop, int stacks_socket,
                                                  const std::function<void()>& signal, Done done);

  /// The worker has ended: calls back now, with what it had written, if anything.
  void end();
  /// False while the worker may still write, which would mix with another dump, or is owed an end.
  bool is_over() const { return !pipe_ && !done_; }

 private:
  StackDump() = default;
  void on_readable();
  void close();
  void finish(Result<std::string> text);

  Fd pipe_;
  std::string text_;
  Done done_;
  EventSource source_;
  EventSource limit_;
};

}  // namespace green::manager
