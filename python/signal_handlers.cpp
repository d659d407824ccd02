#include "python/signal_handlers.h"

#include <fcntl.h>
#include <pybind11/pybind11.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <array>
#include <utility>

#include "common/high_fd.h"
#include "common/log.h"
#include "python/application_fork.h"
#include "python/traceback.h"

namespace green::python {
namespace {

namespace py = pybind11;

/// Returns the one before; -1: none. Throws pybind11::error_already_set.
int set_wakeup_descriptor(int descriptor) {
  return py::module_::import("_signal")
      .attr("set_wakeup_fd")(descriptor, py::arg("warn_on_full_buffer") = false)
      .cast<int>();
}

}  // namespace

void run_signal_handlers() {
  // It stops at each handler that raises.
  while (PyErr_CheckSignals() < 0) {
    end_if_forked();
    log_error("a signal's handler raised an exception\n{}", take_traceback());
  }
  end_if_forked();
}

Result<std::unique_ptr<SignalWatch>> SignalWatch::start(http::Reactor& reactor) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return fail_errno("pipe2");
  auto reading = move_high(Fd(ends[0]));
  auto writing = move_high(Fd(ends[1]));
  if (!reading) return fail(std::move(reading.error()));
  if (!writing) return fail(std::move(writing.error()));
  std::unique_ptr<SignalWatch> watch(
      new SignalWatch(reactor, std::move(*reading), std::move(*writing)));
  try {
    if (const int before = set_wakeup_descriptor(watch->writing_.get()); before != -1) {
      set_wakeup_descriptor(before);
      watch->writing_.reset();
      return std::unique_ptr<SignalWatch>();
    }
  } catch (py::error_already_set& error) {
    error.restore();
    return fail(ErrorCode::unavailable, "signal.set_wakeup_fd(): " + take_exception_line());
  }
  if (auto added = reactor.add(watch->reading_.get(), EPOLLIN, *watch); !added)
    return fail(std::move(added.error()));
  return watch;
}

SignalWatch::~SignalWatch() {
  if (!writing_) return;
  reactor_.remove(reading_.get(), *this);
  try {
    set_wakeup_descriptor(-1);
  } catch (py::error_already_set& error) {
    error.restore();
    log_error("signal.set_wakeup_fd(-1): {}", take_exception_line());
  }
}

void SignalWatch::on_events(std::uint32_t) {
  std::array<char, 256> numbers;
  while (::read(reading_.get(), numbers.data(), numbers.size()) > 0) {
  }
  const PyGILState_STATE state = PyGILState_Ensure();
  run_signal_handlers();
  PyGILState_Release(state);
}

}  // namespace green::python
