#include "python/callable_type.h"

#include <structmember.h>

#include <vector>

namespace green::python {
namespace {

PySendResult step_of(PyObject* object, PyObject* value, PyObject** result) {
  return Py_TYPE(object)->tp_as_async->am_send(object, value, result);
}

/// What send() and __next__ make of a step: StopIteration holds a coroutine's value.
PyObject* step_as_iterator(PyObject* object, PyObject* value) {
  PyObject* result = nullptr;
  switch (step_of(object, value, &result)) {
    case PYGEN_NEXT:
      return result;
    case PYGEN_RETURN: {
      PyObject* stop = PyObject_CallOneArg(PyExc_StopIteration, result);
      Py_DECREF(result);
      if (stop == nullptr) return nullptr;
      PyErr_SetObject(PyExc_StopIteration, stop);
      Py_DECREF(stop);
      return nullptr;
    }
    case PYGEN_ERROR:
      break;
  }
  return nullptr;
}

PyObject* next(PyObject* object) { return step_as_iterator(object, Py_None); }
PyObject* self(PyObject* object) { return Py_NewRef(object); }

}  // namespace

PyTypeObject* make_callable_type(const char* name, std::size_t size, std::size_t vectorcall_offset,
                                 destructor dealloc) {
  // The type keeps a pointer to its name only; the members are copied.
  PyMemberDef members[] = {{"__vectorcalloffset__", T_PYSSIZET,
                            static_cast<Py_ssize_t>(vectorcall_offset), READONLY, nullptr},
                           {nullptr, 0, 0, 0, nullptr}};
  PyType_Slot slots[] = {{Py_tp_dealloc, reinterpret_cast<void*>(dealloc)},
                         {Py_tp_call, reinterpret_cast<void*>(PyVectorcall_Call)},
                         {Py_tp_members, members},
                         {0, nullptr}};
  PyType_Spec spec{
      name, static_cast<int>(size), 0,
      Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};
  return reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
}

PyTypeObject* make_coroutine_type(const char* name, std::size_t size, sendfunc step,
                                  PyCFunction throw_method, PyCFunction close_method,
                                  destructor dealloc, getattrofunc getattr) {
  // Kept by the type for ever.
  auto* const methods = new PyMethodDef[4]{
      {"send", step_as_iterator, METH_O, nullptr},
      {"throw", throw_method, METH_VARARGS, nullptr},
      {"close", close_method, METH_NOARGS, nullptr},
      {nullptr, nullptr, 0, nullptr},
  };
  std::vector<PyType_Slot> slots{{Py_tp_dealloc, reinterpret_cast<void*>(dealloc)},
                                 {Py_am_await, reinterpret_cast<void*>(self)},
                                 {Py_am_send, reinterpret_cast<void*>(step)},
                                 {Py_tp_iter, reinterpret_cast<void*>(self)},
                                 {Py_tp_iternext, reinterpret_cast<void*>(next)},
                                 {Py_tp_methods, methods}};
  if (getattr != nullptr) slots.push_back({Py_tp_getattro, reinterpret_cast<void*>(getattr)});
  slots.push_back({0, nullptr});
  PyType_Spec spec{name, static_cast<int>(size), 0,
                   Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots.data()};
  PyObject* type = PyType_FromSpec(&spec);
  if (type == nullptr) delete[] methods;
  return reinterpret_cast<PyTypeObject*>(type);
}

void raise_thrown(PyObject* arguments) {
  PyObject* type = nullptr;
  PyObject* value = nullptr;
  PyObject* traceback = nullptr;
  if (PyArg_UnpackTuple(arguments, "throw", 1, 3, &type, &value, &traceback) == 0) return;
  if (traceback == Py_None) traceback = nullptr;
  if (PyExceptionInstance_Check(type)) {
    value = type;
    type = PyExceptionInstance_Class(value);
    Py_INCREF(type);
    Py_INCREF(value);
    if (traceback == nullptr)
      traceback = PyException_GetTraceback(value);
    else
      Py_INCREF(traceback);
    return PyErr_Restore(type, value, traceback);
  }
  if (!PyExceptionClass_Check(type)) {
    PyErr_SetString(PyExc_TypeError, "throw() takes an exception");
    return;
  }
  PyErr_Restore(Py_NewRef(type), Py_XNewRef(value), Py_XNewRef(traceback));
}

void free_instance(PyObject* object) {
  PyTypeObject* const type = Py_TYPE(object);
  type->tp_free(object);
  Py_DECREF(type);
}

}  // namespace green::python
