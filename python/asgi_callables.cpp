#include "python/asgi_callables.h"

#include <pybind11/pybind11.h>
#include <unistd.h>

#include <cstddef>

#include "python/application_fork.h"
#include "python/awaitable.h"
#include "python/callable_type.h"
#include "python/green_module.h"

namespace green::python {
namespace {

struct Callable {
  PyObject_HEAD vectorcallfunc vectorcall;
  AsgiCallables::Owner* owner;  ///< null once the request is over
  unsigned long thread;
  bool is_taking;  ///< a message, which may run code of the application's
  PyObject* last;  ///< what is received then, if that is not http.disconnect
};

Callable& as_callable(PyObject* object) { return *reinterpret_cast<Callable*>(object); }

/// Its only argument; null with an exception set.
PyObject* argument_of(PyObject* const* arguments, std::size_t flags, PyObject* names) {
  if (PyVectorcall_NARGS(flags) + (names == nullptr ? 0 : PyTuple_GET_SIZE(names)) == 1)
    return arguments[0];
  PyErr_SetString(PyExc_TypeError, "send() takes one message, and nothing else");
  return nullptr;
}

bool is_on_its_thread(const Callable& self) { return self.thread == PyThread_get_thread_ident(); }

/// For a call on another thread: a coroutine that calls once it is awaited, which may be on the
/// loop's (asgiref's AsyncToSync does so). `message`: null for receive().
PyObject* make_later_call(PyObject* object, PyObject* message) {
  try {
    const pybind11::object call = pybind11::reinterpret_borrow<pybind11::object>(object);
    const pybind11::object later = asgi_helpers().attr("call_on_thread");
    const unsigned long thread = as_callable(object).thread;
    if (message == nullptr) return later(thread, call).release().ptr();
    return later(thread, call, pybind11::handle(message)).release().ptr();
  } catch (pybind11::error_already_set& error) {
    error.restore();
    return nullptr;
  }
}

PyObject* poll_message(PyObject* object) {
  Callable& self = as_callable(object);
  if (self.owner != nullptr) return self.owner->next_message().release();
  if (PyErr_Occurred() != nullptr) return nullptr;
  if (self.last != nullptr) return PyDict_Copy(self.last);
  return Py_BuildValue("{ss}", "type", "http.disconnect");
}

PyObject* poll_room(PyObject* object) {
  Callable& self = as_callable(object);
  return self.owner != nullptr ? self.owner->room().release() : Py_NewRef(Py_None);
}

PyObject* make_future(PyObject* object) { return as_callable(object).owner->make_future(); }

constexpr AwaitableKind message_kind{.poll = poll_message, .make_future = make_future};
constexpr AwaitableKind room_kind{.poll = poll_room, .make_future = make_future};

PyObject* receive(PyObject* object, PyObject* const*, std::size_t flags, PyObject* names) {
  end_if_forked();
  if (PyVectorcall_NARGS(flags) != 0 || names != nullptr) {
    PyErr_SetString(PyExc_TypeError, "receive() takes no arguments");
    return nullptr;
  }
  if (!is_on_its_thread(as_callable(object))) return make_later_call(object, nullptr);
  return make_awaitable(message_kind, object).release();
}

PyObject* send(PyObject* object, PyObject* const* arguments, std::size_t flags, PyObject* names) {
  end_if_forked();
  Callable& self = as_callable(object);
  PyObject* const message = argument_of(arguments, flags, names);
  if (message == nullptr) return nullptr;
  if (!is_on_its_thread(self)) return make_later_call(object, message);
  if (self.owner == nullptr) {
    PyErr_SetString(PyExc_RuntimeError, "send() was called after the request was over");
    return nullptr;
  }
  if (self.is_taking) {
    PyErr_SetString(PyExc_RuntimeError, "send() was called while it reads a message");
    return nullptr;
  }
  const PyRef kept = PyRef::borrow(message);
  self.is_taking = true;
  const auto taken = self.owner->take(message);
  self.is_taking = false;
  switch (taken) {
    case AsgiCallables::Owner::Taken::with_room:
      return awaitable_none().release();
    case AsgiCallables::Owner::Taken::without_room:
      return make_awaitable(room_kind, object).release();
    case AsgiCallables::Owner::Taken::failed:
      break;
  }
  return nullptr;
}

void deallocate(PyObject* object) {
  Py_CLEAR(as_callable(object).last);
  free_instance(object);
}

PyTypeObject* receive_type() {
  static PyTypeObject* const type = make_callable_type("green.receive", sizeof(Callable),
                                                       offsetof(Callable, vectorcall), deallocate);
  return type;
}

PyTypeObject* send_type() {
  static PyTypeObject* const type = make_callable_type("green.send", sizeof(Callable),
                                                       offsetof(Callable, vectorcall), deallocate);
  return type;
}

PyRef make(PyTypeObject* type, vectorcallfunc call) {
  PyRef object = PyRef::steal(type == nullptr ? nullptr : type->tp_alloc(type, 0));
  if (object) as_callable(object.get()).vectorcall = call;
  return object;
}

/// Keeps one that nobody else has.
void detach(PyRef& object, const PyRef& last) {
  if (!object) return;
  Callable& self = as_callable(object.get());
  self.owner = nullptr;
  if (Py_REFCNT(object.get()) == 1) return;
  self.last = Py_XNewRef(last.get());
  object.reset();
}

}  // namespace

AsgiCallables::AsgiCallables() {
  if (receive_type() == nullptr || send_type() == nullptr) throw pybind11::error_already_set();
}

bool AsgiCallables::open(Owner& owner) {
  if (!receive_) receive_ = make(receive_type(), ::green::python::receive);
  if (!send_) send_ = make(send_type(), ::green::python::send);
  if (!receive_ || !send_) return false;
  for (PyObject* const object : {receive_.get(), send_.get()}) {
    as_callable(object).owner = &owner;
    as_callable(object).thread = PyThread_get_thread_ident();
  }
  return true;
}

void AsgiCallables::close(const PyRef& last) {
  detach(receive_, last);
  detach(send_, PyRef());
}

}  // namespace green::python
