#include "python/awaitable.h"

#include "python/callable_type.h"

namespace green::python {
namespace {

struct Awaitable {
  PyObject_HEAD const AwaitableKind* kind;  ///< null: None, again and again
  PyObject* owner;                          ///< null once it was awaited
  PyObject* future;                         ///< what is iterated of one, while one is waited for
};

Awaitable& as_awaitable(PyObject* object) { return *reinterpret_cast<Awaitable*>(object); }

PySendResult end(Awaitable& self, PySendResult how) {
  Py_CLEAR(self.future);
  Py_CLEAR(self.owner);
  return how;
}

PySendResult step(PyObject* object, PyObject* value, PyObject** result) {
  Awaitable& self = as_awaitable(object);
  if (self.kind == nullptr) {
    *result = Py_NewRef(Py_None);
    return PYGEN_RETURN;
  }
  *result = nullptr;
  if (self.owner == nullptr) {
    PyErr_SetString(PyExc_RuntimeError, "receive() or send(): what it returned was awaited before");
    return PYGEN_ERROR;
  }
  for (;;) {
    if (self.future != nullptr) {
      PyObject* given = nullptr;
      const PySendResult sent = PyIter_Send(self.future, value, &given);
      if (sent == PYGEN_NEXT) {
        *result = given;
        return sent;
      }
      if (sent == PYGEN_ERROR) return end(self, sent);
      Py_DECREF(given);
      Py_CLEAR(self.future);
      value = Py_None;
    }
    *result = self.kind->poll(self.owner);
    if (*result != nullptr) return end(self, PYGEN_RETURN);
    if (PyErr_Occurred() != nullptr) return end(self, PYGEN_ERROR);
    const PyRef future = PyRef::steal(self.kind->make_future(self.owner));
    if (future) self.future = iterator_of_awaitable(future.get()).release();
    if (self.future == nullptr) return end(self, PYGEN_ERROR);
  }
}

PyObject* throw_in(PyObject* object, PyObject* arguments) {
  end(as_awaitable(object), PYGEN_ERROR);
  raise_thrown(arguments);
  return nullptr;
}

PyObject* close(PyObject* object, PyObject*) {
  end(as_awaitable(object), PYGEN_ERROR);
  Py_RETURN_NONE;
}

void deallocate(PyObject* object) {
  end(as_awaitable(object), PYGEN_ERROR);
  free_instance(object);
}

PyRef make(const AwaitableKind* kind, PyObject* owner) {
  static PyTypeObject* const type =
      make_coroutine_type("green.awaitable", sizeof(Awaitable), step, throw_in, close, deallocate);
  Awaitable* const self = type == nullptr ? nullptr : PyObject_New(Awaitable, type);
  if (self == nullptr) return {};
  self->kind = kind;
  self->owner = Py_XNewRef(owner);
  self->future = nullptr;
  return PyRef::steal(reinterpret_cast<PyObject*>(self));
}

}  // namespace

PyRef make_awaitable(const AwaitableKind& kind, PyObject* owner) { return make(&kind, owner); }

PyRef awaitable_none() {
  static PyObject* const shared = make(nullptr, nullptr).release();
  return PyRef::borrow(shared);
}

PyRef iterator_of_awaitable(PyObject* object) {
  if (PyCoro_CheckExact(object)) return PyRef::borrow(object);
  const PyAsyncMethods* const methods = Py_TYPE(object)->tp_as_async;
  if (methods != nullptr && methods->am_await != nullptr)
    return PyRef::steal(methods->am_await(object));
  PyErr_Format(PyExc_TypeError, "%.200s object can't be awaited", Py_TYPE(object)->tp_name);
  return {};
}

}  // namespace green::python
