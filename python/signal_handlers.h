// The application's handlers of signals (signal.signal): CPython runs them on the main thread
// alone, and there only within Python code, which a worker's loop thread may not come by for long.
#pragma once

#include <memory>

#include "common/fd.h"
#include "common/result.h"
#include "daemon/http/reactor.h"

namespace green::python {

/// Runs those of the signals that have come. What they raise, SystemExit included, is logged: it is
/// no request's. Main thread, with the GIL.
void run_signal_handlers();

/// Of a loop that turns on the main thread without the GIL: while there is one, handlers run there
/// whenever a signal comes. Made and let go with the GIL.
class SignalWatch final : http::EventHandler {
 public:
  /// Null where the application has a wakeup descriptor of its own (signal.set_wakeup_fd), which is
  /// left to it. `reactor` outlives it.
  static Result<std::unique_ptr<SignalWatch>> start(http::Reactor& reactor);
  ~SignalWatch();
  SignalWatch(const SignalWatch&) = delete;
  SignalWatch& operator=(const SignalWatch&) = delete;

 private:
  SignalWatch(http::Reactor& reactor, Fd reading, Fd writing)
      : reactor_(reactor), reading_(std::move(reading)), writing_(std::move(writing)) {}
  void on_events(std::uint32_t events) override;

  http::Reactor& reactor_;
  Fd reading_;
  Fd writing_;
};

}  // namespace green::python
