#include "python/wsgi_errors.h"

#include "python/application_output.h"

namespace green::python {
namespace {

/// False with an exception set.
bool write_text(PyObject* text) {
  if (!PyUnicode_Check(text)) {
    PyErr_Format(PyExc_TypeError, "wsgi.errors takes str, not %.200s", Py_TYPE(text)->tp_name);
    return false;
  }
  // Surrogates (undecodable file names) have no UTF-8: shown as escapes.
  const PyRef bytes = PyRef::steal(PyUnicode_AsEncodedString(text, "utf-8", "backslashreplace"));
  if (!bytes) return false;
  log_application_text(
      TextSource::wsgi_errors,
      {PyBytes_AS_STRING(bytes.get()), static_cast<std::size_t>(PyBytes_GET_SIZE(bytes.get()))});
  return true;
}

PyObject* write(PyObject*, PyObject* text) {
  return write_text(text) ? PyLong_FromSsize_t(PyUnicode_GET_LENGTH(text)) : nullptr;
}

PyObject* writelines(PyObject*, PyObject* lines) {
  const PyRef iterator = PyRef::steal(PyObject_GetIter(lines));
  if (!iterator) return nullptr;
  while (const PyRef line = PyRef::steal(PyIter_Next(iterator.get())))
    if (!write_text(line.get())) return nullptr;
  if (PyErr_Occurred() != nullptr) return nullptr;
  Py_RETURN_NONE;
}

PyObject* flush(PyObject*, PyObject*) {
  flush_wsgi_errors();
  Py_RETURN_NONE;
}

PyTypeObject* errors_type() {
  static PyMethodDef methods[] = {{"write", write, METH_O, nullptr},
                                  {"writelines", writelines, METH_O, nullptr},
                                  {"flush", flush, METH_NOARGS, nullptr},
                                  {nullptr, nullptr, 0, nullptr}};
  static PyType_Slot slots[] = {{Py_tp_methods, methods}, {0, nullptr}};
  static PyType_Spec spec{"green.errors", sizeof(PyObject), 0,
                          Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};
  // One interpreter a process, which outlives every request: the reference is never given up.
  static PyTypeObject* type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
  return type;
}

}  // namespace

PyRef make_wsgi_errors() {
  PyTypeObject* type = errors_type();
  return type == nullptr ? PyRef() : PyRef::steal(type->tp_alloc(type, 0));
}

void flush_wsgi_errors() { finish_application_text(TextSource::wsgi_errors); }

}  // namespace green::python
