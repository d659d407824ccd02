#include "python/traceback.h"

#include "python/py_ref.h"

namespace green::python {
namespace {

struct Raised {
  PyRef type;
  PyRef value;
  PyRef traceback;
};

Raised take_raised() {
  PyObject* type = nullptr;
  PyObject* value = nullptr;
  PyObject* traceback = nullptr;
  PyErr_Fetch(&type, &value, &traceback);
  PyErr_NormalizeException(&type, &value, &traceback);
  if (value != nullptr && traceback != nullptr) PyException_SetTraceback(value, traceback);
  return {PyRef::steal(type), PyRef::steal(value), PyRef::steal(traceback)};
}

std::string text_of(PyObject* unicode) {
  // Surrogates (undecodable file names) have no UTF-8: shown as escapes.
  const PyRef bytes = PyRef::steal(PyUnicode_AsEncodedString(unicode, "utf-8", "backslashreplace"));
  if (!bytes) {
    PyErr_Clear();
    return {};
  }
  return {PyBytes_AS_STRING(bytes.get()), static_cast<std::size_t>(PyBytes_GET_SIZE(bytes.get()))};
}

/// What is left to say where the traceback module itself fails (its own bug, memory, a broken
/// __str__).
std::string bare_name(const Raised& raised) {
  PyErr_Clear();
  return PyExceptionClass_Check(raised.type.get())
             ? std::string(PyExceptionClass_Name(raised.type.get())) +
                   " (no traceback: formatting failed)"
             : "an exception of an unknown type";
}

std::string joined(const PyRef& lines) {
  const PyRef empty = PyRef::steal(PyUnicode_FromString(""));
  const PyRef text = PyRef::steal(PyUnicode_Join(empty.get(), lines.get()));
  if (!text) return {};
  return text_of(text.get());
}

}  // namespace

std::string take_traceback() {
  if (PyErr_Occurred() == nullptr) return {};
  const Raised raised = take_raised();
  const PyRef module = PyRef::steal(PyImport_ImportModule("traceback"));
  if (!module) return bare_name(raised);
  const PyRef lines =
      PyRef::steal(PyObject_CallMethod(module.get(), "format_exception", "OOO", raised.type.get(),
                                       raised.value ? raised.value.get() : Py_None,
                                       raised.traceback ? raised.traceback.get() : Py_None));
  std::string text = lines ? joined(lines) : std::string();
  return text.empty() ? bare_name(raised) : text;
}

std::string take_exception_line() {
  if (PyErr_Occurred() == nullptr) return {};
  const Raised raised = take_raised();
  const PyRef module = PyRef::steal(PyImport_ImportModule("traceback"));
  if (!module) return bare_name(raised);
  const PyRef lines = PyRef::steal(
      PyObject_CallMethod(module.get(), "format_exception_only", "OO", raised.type.get(),
                          raised.value ? raised.value.get() : Py_None));
  std::string text = lines ? joined(lines) : std::string();
  while (text.ends_with('\n')) text.pop_back();
  return text.empty() ? bare_name(raised) : text;
}

}  // namespace green::python
