#include "python/event_loop.h"

#include <pybind11/pybind11.h>

#include <stdexcept>

#include "common/log.h"
#include "python/app_loader.h"
#include "python/application_fork.h"
#include "python/green_module.h"
#include "python/traceback.h"

namespace green::python {
namespace {

namespace py = pybind11;

PyRef attribute(PyObject* object, const char* name) {
  PyRef value = PyRef::steal(PyObject_GetAttrString(object, name));
  if (!value) throw py::error_already_set();
  return value;
}

}  // namespace

EventLoop::EventLoop(PyRef loop)
    : loop_(std::move(loop)),
      create_task_(
          PyRef::steal(asgi_helpers().attr("task_maker")(py::handle(loop_.get())).release().ptr())),
      task_factory_(attribute(loop_.get(), "get_task_factory")),
      plain_task_(PyRef::steal(
          asgi_helpers().attr("plain_task_type")(py::handle(loop_.get())).release().ptr())),
      names_of_plain_(PyRef::steal(py::make_tuple("loop", "name").release().ptr())),
      names_of_created_(PyRef::steal(py::make_tuple("name").release().ptr())),
      create_future_(attribute(loop_.get(), "create_future")) {}

std::unique_ptr<EventLoop> EventLoop::make(const std::string& name) {
  py::object factory = py::none();
  if (name.contains(':')) {
    auto found = load_application(name);
    if (!found) throw std::runtime_error("loop = " + name + ": " + found.error().text);
    factory = py::reinterpret_steal<py::object>(found->release());
  }
  py::object loop = asgi_helpers().attr("make_loop")(name, factory);
  return std::unique_ptr<EventLoop>(new EventLoop(PyRef::steal(loop.release().ptr())));
}

void EventLoop::close() {
  if (!loop_) return;
  try {
    const py::object loop = py::reinterpret_steal<py::object>(loop_.release());
    if (nested_) loop.attr("remove_reader")(nested_->fd());
    asgi_helpers().attr("close_loop")(loop);
  } catch (py::error_already_set& error) {
    error.restore();
    log_warning("closing the event loop: {}", take_traceback());
  }
}

Result<void> EventLoop::attach(http::Reactor& reactor) {
  auto nested = http::NestedReactor::create(reactor);
  if (!nested) return fail(std::move(nested.error()));
  nested_ = std::move(*nested);
  static PyMethodDef method{"green_turn", on_readable, METH_NOARGS, nullptr};
  try {
    const py::capsule self(this);
    const py::object callback =
        py::reinterpret_steal<py::object>(PyCFunction_New(&method, self.ptr()));
    if (!callback) throw py::error_already_set();
    py::reinterpret_borrow<py::object>(loop_.get()).attr("add_reader")(nested_->fd(), callback);
  } catch (py::error_already_set& error) {
    error.restore();
    return fail(ErrorCode::application, "loop: add_reader(): " + take_exception_line());
  }
  return {};
}

PyObject* EventLoop::on_readable(PyObject* capsule, PyObject*) {
  static_cast<EventLoop*>(PyCapsule_GetPointer(capsule, nullptr))->turn();
  Py_RETURN_NONE;
}

void EventLoop::turn() {
  if (auto turned = nested_->turn(); !turned && !failure_) failure_ = std::move(turned.error());
  note_stop();
}

void EventLoop::note_stop() {
  if (!is_running_ || !is_over()) return;
  const PyRef stopped = PyRef::steal(PyObject_CallMethod(loop_.get(), "stop", nullptr));
  if (!stopped) log_error("stopping the event loop: {}", take_exception_line());
}

Result<void> EventLoop::run() {
  const PyRef name = PyRef::steal(PyUnicode_FromString("run_forever"));
  if (!name) return fail(ErrorCode::unavailable, take_exception_line());
  while (!is_over()) {
    is_running_ = true;
    const PyRef ran = PyRef::steal(PyObject_CallMethodNoArgs(loop_.get(), name.get()));
    is_running_ = false;
    end_if_forked();
    if (ran || is_over()) continue;  // stopped by the application: that is not its to decide
    // SystemExit and KeyboardInterrupt of a task: one request must not end a worker.
    log_error("the application raised in the event loop\n{}", take_traceback());
    const PyRef closed = PyRef::steal(PyObject_CallMethod(loop_.get(), "is_closed", nullptr));
    if (closed.get() != Py_False)
      return fail(ErrorCode::application, "the application closed the event loop");
  }
  PyErr_Clear();
  if (failure_) return fail(*failure_);
  return {};
}

PyRef EventLoop::create_task(PyObject* coroutine, const PyRef& name) {
  if (!name) return {};
  PyObject* arguments[] = {coroutine, name.get()};
  return PyRef::steal(
      PyObject_Vectorcall(create_task_.get(), arguments, 1, names_of_created_.get()));
}

/// create_task() gives the name to a task that has had its own made: for a request, a format of a
/// number.
PyRef EventLoop::create_plain_task(PyObject* coroutine, const PyRef& name) {
  if (!name || plain_task_.get() == Py_None) return {};
  const PyRef factory = PyRef::steal(PyObject_CallNoArgs(task_factory_.get()));
  if (factory.get() != Py_None) return {};
  PyObject* arguments[] = {coroutine, loop_.get(), name.get()};
  return PyRef::steal(PyObject_Vectorcall(plain_task_.get(), arguments, 1, names_of_plain_.get()));
}

PyRef EventLoop::run_until_complete(PyObject* awaitable) {
  is_running_ = true;
  PyRef result =
      PyRef::steal(PyObject_CallMethod(loop_.get(), "run_until_complete", "O", awaitable));
  is_running_ = false;
  end_if_forked();
  if (!result && is_over()) PyErr_Clear();  // "Event loop stopped before Future completed."
  return result;
}

}  // namespace green::python
