// KeptException: the exception that is raised, set aside while there is one of these: what runs
// meanwhile may call into Python. The thread holds the GIL.
#pragma once

#include <Python.h>

namespace green::python {

class KeptException {
 public:
  KeptException() { PyErr_Fetch(&type_, &value_, &traceback_); }
  /// Raised again; what was raised meanwhile is gone.
  ~KeptException() { PyErr_Restore(type_, value_, traceback_); }
  KeptException(const KeptException&) = delete;
  KeptException& operator=(const KeptException&) = delete;

 private:
  PyObject* type_ = nullptr;
  PyObject* value_ = nullptr;
  PyObject* traceback_ = nullptr;
};

}  // namespace green::python
