#include "python/client_gone.h"

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

namespace green::python {
namespace {

constexpr const char* mark = "_green_client_gone";
constexpr std::size_t longest_chain = 100;

/// What Python shows an exception to come of, as a traceback does.
PyRef cause_of(PyObject* error) {
  PyRef cause = PyRef::steal(PyException_GetCause(error));
  const bool hides_context = reinterpret_cast<PyBaseExceptionObject*>(error)->suppress_context != 0;
  return cause || hides_context ? std::move(cause) : PyRef::steal(PyException_GetContext(error));
}

bool is_marked(PyObject* error) { return PyObject_HasAttrString(error, mark) != 0; }

/// `seen`: on the way there; there may be circles.
bool comes_of_gone_client(PyObject* error, std::vector<PyObject*>& seen);

bool all_do(PyObject* group, std::vector<PyObject*>& seen) {
  const PyRef errors = PyRef::steal(PyObject_GetAttrString(group, "exceptions"));
  if (!errors || !PyTuple_Check(errors.get())) {
    PyErr_Clear();
    return false;
  }
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(errors.get()); ++i)
    if (!comes_of_gone_client(PyTuple_GET_ITEM(errors.get(), i), seen)) return false;
  return true;
}

bool comes_of_gone_client(PyObject* error, std::vector<PyObject*>& seen) {
  if (!PyExceptionInstance_Check(error)) return false;
  if (std::ranges::find(seen, error) != seen.end() || seen.size() == longest_chain)
    return is_marked(error);
  seen.push_back(error);
  if (PyObject_TypeCheck(error, reinterpret_cast<PyTypeObject*>(PyExc_BaseExceptionGroup)))
    return all_do(error, seen);
  const PyRef cause = cause_of(error);
  const bool is_first = !cause || std::ranges::find(seen, cause.get()) != seen.end();
  return is_first ? is_marked(error) : comes_of_gone_client(cause.get(), seen);
}

}  // namespace

void raise_client_gone(const char* text) {
  const PyRef error = PyRef::steal(PyObject_CallFunction(PyExc_ConnectionResetError, "s", text));
  if (error && PyObject_SetAttrString(error.get(), mark, Py_True) == 0)
    PyErr_SetObject(PyExc_ConnectionResetError, error.get());
}

bool comes_of_gone_client(PyObject* error) {
  std::vector<PyObject*> seen;
  return comes_of_gone_client(error, seen);
}

bool raised_for_gone_client() {
  PyObject* type = nullptr;
  PyObject* value = nullptr;
  PyObject* traceback = nullptr;
  PyErr_Fetch(&type, &value, &traceback);
  PyErr_NormalizeException(&type, &value, &traceback);
  const bool does = value != nullptr && comes_of_gone_client(value);
  PyErr_Restore(type, value, traceback);
  return does;
}

}  // namespace green::python
