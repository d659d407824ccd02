#include "python/header_list.h"

#include <cstddef>

#include "python/client_gone.h"
#include "python/latin1.h"

namespace green::python {
namespace {

bool read_text(const char* caller, PyObject* object, const char* part, std::string_view& text) {
  if (!PyUnicode_Check(object)) {
    PyErr_Format(PyExc_TypeError, "%s: a header's %s must be a str, not %.200s (%R)", caller, part,
                 Py_TYPE(object)->tp_name, object);
    return false;
  }
  const auto view = latin1_view(object);
  if (!view) {
    PyErr_Format(PyExc_ValueError, "%s: a header's %s has characters outside latin-1: %R", caller,
                 part, object);
    return false;
  }
  text = *view;
  return true;
}

}  // namespace

bool read_headers(const char* caller, PyObject* list, std::vector<http::Header>& headers) {
  if (!PyList_Check(list)) {
    PyErr_Format(PyExc_TypeError,
                 "%s: the headers must be a list of (name, value) tuples, not %.200s", caller,
                 Py_TYPE(list)->tp_name);
    return false;
  }
  const Py_ssize_t count = PyList_GET_SIZE(list);
  headers.clear();
  headers.reserve(static_cast<std::size_t>(count));
  for (Py_ssize_t i = 0; i < count; ++i) {
    PyObject* item = PyList_GET_ITEM(list, i);
    if (!PyTuple_Check(item) || PyTuple_GET_SIZE(item) != 2) {
      PyErr_Format(PyExc_TypeError, "%s: a header must be a (name, value) tuple, not %R", caller,
                   item);
      return false;
    }
    http::Header header;
    if (!read_text(caller, PyTuple_GET_ITEM(item, 0), "name", header.name) ||
        !read_text(caller, PyTuple_GET_ITEM(item, 1), "value", header.value))
      return false;
    headers.push_back(header);
  }
  return true;
}

void raise_error(const Error& error) {
  if (error.code() == ErrorCode::unavailable)
    raise_client_gone(error.message().c_str());
  else
    PyErr_SetString(PyExc_ValueError, error.message().c_str());
}

}  // namespace green::python
