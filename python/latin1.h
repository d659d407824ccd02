// The str that WSGI makes of bytes, each of them a character (PEP 3333, "Unicode Issues"), and
// back. With the GIL.
#pragma once

#include <Python.h>

#include <optional>
#include <string_view>

#include "python/py_ref.h"

namespace green::python {

/// A new str; empty with an exception set.
inline PyRef latin1(std::string_view text) {
  return PyRef::steal(
      PyUnicode_DecodeLatin1(text.data(), static_cast<Py_ssize_t>(text.size()), nullptr));
}

/// The bytes of a str whose characters are all latin-1, without a copy; nullopt of any other.
inline std::optional<std::string_view> latin1_view(PyObject* text) {
  if (PyUnicode_READY(text) < 0) {
    PyErr_Clear();
    return std::nullopt;
  }
  if (PyUnicode_KIND(text) != PyUnicode_1BYTE_KIND) return std::nullopt;
  return std::string_view(reinterpret_cast<const char*>(PyUnicode_1BYTE_DATA(text)),
                          static_cast<std::size_t>(PyUnicode_GET_LENGTH(text)));
}

}  // namespace green::python
