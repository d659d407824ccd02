// The worker's asyncio event loop (asyncio's own, uvloop's, or a site's), inside which the reactor
// turns: its epoll descriptor is one of the loop's readers. Main thread of a worker, with the GIL.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "common/result.h"
#include "daemon/http/nested_reactor.h"
#include "python/py_ref.h"

namespace green::python {

class EventLoop {
 public:
  /// `name`: the setting `loop`. In the process that will run it. Throws
  /// pybind11::error_already_set, and std::runtime_error for a factory that is not there.
  static std::unique_ptr<EventLoop> make(const std::string& name);
  ~EventLoop() { close(); }
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;
  /// Cancels what still runs, waits for it a while, and closes the loop.
  void close();

  /// `reactor` outlives this.
  Result<void> attach(http::Reactor& reactor);
  /// Until the reactor is stopped or fails.
  Result<void> run();
  /// Runs an awaitable to its end. Empty with an exception set; without one: the reactor was
  /// stopped meanwhile.
  PyRef run_until_complete(PyObject* awaitable);
  /// The reactor may have been stopped outside of a turn.
  void note_stop();

  http::NestedReactor& reactor() { return *nested_; }
  /// As the loop's own create_task(). Empty with an exception set, also where `name` is empty.
  PyRef create_task(PyObject* coroutine, const PyRef& name);
  /// One of asyncio's own that runs the coroutine itself. Empty with an exception set; empty
  /// without one: the application has a say in it (a task factory, a loop of its own).
  PyRef create_plain_task(PyObject* coroutine, const PyRef& name);
  /// A new reference; null with an exception set.
  PyObject* create_future() { return PyObject_CallNoArgs(create_future_.get()); }

 private:
  explicit EventLoop(PyRef loop);
  static PyObject* on_readable(PyObject* capsule, PyObject*);
  void turn();
  bool is_over() const { return failure_ || nested_->reactor().stopped(); }

  PyRef loop_;
  PyRef create_task_;
  PyRef task_factory_;      ///< its getter
  PyRef plain_task_;        ///< the type; None: only create_task_ knows
  PyRef names_of_plain_;    ///< ("loop", "name")
  PyRef names_of_created_;  ///< ("name",)
  PyRef create_future_;
  std::unique_ptr<http::NestedReactor> nested_;
  std::optional<Error> failure_;
  bool is_running_ = false;
};

}  // namespace green::python
