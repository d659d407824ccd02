// PyRef: sole owner of one reference to a Python object. The thread must hold the GIL wherever a
// PyRef that is not empty is copied into or goes away.
#pragma once

#include <Python.h>

#include <utility>

namespace green::python {

class PyRef {
 public:
  PyRef() = default;
  /// Takes over a new reference (what most of the C API returns); null: empty.
  static PyRef steal(PyObject* object) { return PyRef(object); }
  /// Adds a reference of its own.
  static PyRef borrow(PyObject* object) { return PyRef(Py_XNewRef(object)); }

  PyRef(PyRef&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  PyRef& operator=(PyRef&& other) noexcept {
    PyObject* old = std::exchange(object_, std::exchange(other.object_, nullptr));
    Py_XDECREF(old);
    return *this;
  }
  PyRef(const PyRef&) = delete;
  PyRef& operator=(const PyRef&) = delete;
  ~PyRef() { Py_XDECREF(object_); }

  PyObject* get() const { return object_; }
  explicit operator bool() const { return object_ != nullptr; }
  PyObject* release() { return std::exchange(object_, nullptr); }
  void reset() {
    PyObject* old = std::exchange(object_, nullptr);
    Py_XDECREF(old);
  }

 private:
  explicit PyRef(PyObject* object) : object_(object) {}
  PyObject* object_ = nullptr;
};

}  // namespace green::python
