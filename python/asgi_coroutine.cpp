#include "python/asgi_coroutine.h"

#include <utility>

#include "common/log.h"
#include "python/awaitable.h"
#include "python/callable_type.h"
#include "python/kept_exception.h"
#include "python/traceback.h"

namespace green::python {
namespace {

struct Coroutine {
  PyObject_HEAD AsgiCoroutine::Owner* owner;  ///< null once it is over
  PyObject* inner;                            ///< the application's; null before the first step
  bool is_running;
  bool is_closed;
};

Coroutine& as_coroutine(PyObject* object) { return *reinterpret_cast<Coroutine*>(object); }

/// The end of the application, with an exception set where it raised.
PySendResult end(Coroutine& self, PySendResult how, PyObject** result) {
  AsgiCoroutine::Owner& owner = *std::exchange(self.owner, nullptr);
  if (how == PYGEN_RETURN) {
    Py_CLEAR(self.inner);
    owner.returned();
  } else {
    {
      // Its traceback keeps the frames that it needs.
      const KeptException kept;
      Py_CLEAR(self.inner);
    }
    if (owner.raised()) return PYGEN_ERROR;
  }
  *result = Py_NewRef(Py_None);
  return PYGEN_RETURN;
}

bool begin(Coroutine& self) {
  const PyRef returned = self.owner->begin();
  if (returned) self.inner = iterator_of_awaitable(returned.get()).release();
  return self.inner != nullptr;
}

/// As any other coroutine, which would take it for the end of the application.
bool refuses_to_be_entered(const Coroutine& self) {
  if (self.is_running) PyErr_SetString(PyExc_ValueError, "coroutine already executing");
  return self.is_running;
}

bool was_closed(const Coroutine& self) {
  if (self.is_closed) PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
  return self.is_closed;
}

PySendResult step(PyObject* object, PyObject* value, PyObject** result) {
  Coroutine& self = as_coroutine(object);
  *result = nullptr;
  if (refuses_to_be_entered(self)) return PYGEN_ERROR;
  if (self.owner == nullptr) {
    PyErr_SetString(PyExc_RuntimeError, "the request is over");
    return PYGEN_ERROR;
  }
  self.owner->before_step();
  self.is_running = true;
  PySendResult sent = PYGEN_ERROR;
  if (!was_closed(self) && (self.inner != nullptr || begin(self)))
    sent = PyIter_Send(self.inner, value, result);
  self.is_running = false;
  // Detached by what it did.
  if (self.owner == nullptr) return sent;
  self.owner->after_step();
  if (sent == PYGEN_NEXT) return sent;
  Py_CLEAR(*result);
  return end(self, sent, result);
}

PyObject* throw_in(PyObject* object, PyObject* arguments) {
  Coroutine& self = as_coroutine(object);
  if (refuses_to_be_entered(self)) return nullptr;
  if (self.owner == nullptr) {
    raise_thrown(arguments);
    return nullptr;
  }
  self.owner->before_step();
  self.is_running = true;
  PyRef given;
  PyRef method;
  if (self.inner != nullptr) method = PyRef::steal(PyObject_GetAttrString(self.inner, "throw"));
  if (method) {
    given = PyRef::steal(PyObject_CallObject(method.get(), arguments));
  } else {
    PyErr_Clear();
    raise_thrown(arguments);
  }
  self.is_running = false;
  if (self.owner == nullptr) return given.release();
  self.owner->after_step();
  if (given) return given.release();
  PyObject* result = nullptr;
  PySendResult how = PYGEN_ERROR;
  if (self.inner != nullptr && PyErr_ExceptionMatches(PyExc_StopIteration) != 0) {
    PyErr_Clear();
    how = PYGEN_RETURN;
  }
  if (end(self, how, &result) == PYGEN_RETURN) {
    Py_DECREF(result);
    PyErr_SetNone(PyExc_StopIteration);
  }
  return nullptr;
}

/// As of a coroutine that is dropped: the application's runs what it has to run then.
PyObject* close(PyObject* object, PyObject*) {
  Coroutine& self = as_coroutine(object);
  if (refuses_to_be_entered(self)) return nullptr;
  self.is_closed = true;
  PyRef inner = PyRef::steal(std::exchange(self.inner, nullptr));
  if (!inner) Py_RETURN_NONE;
  return PyObject_CallMethod(inner.get(), "close", nullptr);
}

void deallocate(PyObject* object) {
  Coroutine& self = as_coroutine(object);
  AsgiCoroutine::Owner* const owner = std::exchange(self.owner, nullptr);
  {
    const KeptException kept;
    Py_CLEAR(self.inner);
    if (owner != nullptr) owner->dropped();
  }
  free_instance(object);
}

/// Of a task that is not ours alone: it may have ended without a step of the coroutine's.
PyObject* task_is_done(PyObject* object, PyObject*) {
  if (auto* const owner = std::exchange(as_coroutine(object).owner, nullptr)) owner->dropped();
  Py_RETURN_NONE;
}

/// cr_frame, cr_await, __qualname__ and the like: the application's own.
PyObject* attribute(PyObject* object, PyObject* name) {
  PyObject* const own = PyObject_GenericGetAttr(object, name);
  Coroutine& self = as_coroutine(object);
  if (own != nullptr || self.inner == nullptr || PyErr_ExceptionMatches(PyExc_AttributeError) == 0)
    return own;
  PyErr_Clear();
  return PyObject_GetAttr(self.inner, name);
}

PyRef create(AsgiCoroutine::Owner& owner) {
  static PyTypeObject* const type = make_coroutine_type("green.request", sizeof(Coroutine), step,
                                                        throw_in, close, deallocate, attribute);
  Coroutine* const self = type == nullptr ? nullptr : PyObject_New(Coroutine, type);
  if (self == nullptr) return {};
  self->owner = &owner;
  self->inner = nullptr;
  self->is_running = self->is_closed = false;
  return PyRef::steal(reinterpret_cast<PyObject*>(self));
}

PyRef create_task(EventLoop& loop, PyObject* coroutine, const PyRef& name) {
  PyRef task = loop.create_plain_task(coroutine, name);
  if (task || PyErr_Occurred() != nullptr) return task;
  task = loop.create_task(coroutine, name);
  if (!task) return task;
  static PyMethodDef method{"green_task_done", task_is_done, METH_O, nullptr};
  const PyRef callback = PyRef::steal(PyCFunction_New(&method, coroutine));
  if (!callback ||
      !PyRef::steal(PyObject_CallMethod(task.get(), "add_done_callback", "O", callback.get())))
    return {};
  return task;
}

}  // namespace

AsgiCoroutine::Begun AsgiCoroutine::begin(Owner& owner, EventLoop& loop, const PyRef& name,
                                          PyObject*& coroutine, PyRef& task) {
  const PyRef made = create(owner);
  if (!made) return Begun::failed;
  coroutine = made.get();
  PyRef made_task = create_task(loop, made.get(), name);
  if (coroutine == nullptr) {
    if (!made_task) log_error("the task factory failed\n{}", take_traceback());
    return Begun::over;
  }
  if (!made_task) {
    detach(made.get());
    coroutine = nullptr;
    return Begun::failed;
  }
  task = std::move(made_task);
  return Begun::runs;
}

void AsgiCoroutine::detach(PyObject* coroutine) { as_coroutine(coroutine).owner = nullptr; }

}  // namespace green::python
