// Interned strs, which are one object wherever code names them: a dict finds such a key by its
// address. With the GIL.
#pragma once

#include <pybind11/pybind11.h>

#include <utility>

#include "python/py_ref.h"

namespace green::python {

/// Throws pybind11::error_already_set.
inline PyRef interned(const char* text) {
  PyRef object = PyRef::steal(PyUnicode_InternFromString(text));
  if (!object) throw pybind11::error_already_set();
  return object;
}

/// dict[key] = value. Throws pybind11::error_already_set.
template <typename Value>
void put(pybind11::dict& dict, const char* key, Value&& value) {
  dict[pybind11::reinterpret_steal<pybind11::object>(interned(key).release())] =
      std::forward<Value>(value);
}

}  // namespace green::python
