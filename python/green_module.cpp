#include "python/green_module.h"

// Made at configure time.
#include <asgi_py.h>
#include <interface_py.h>

namespace green::python {
namespace {

namespace py = pybind11;

PyObject* run(const char* name, const char* file, const char* text) {
  const py::object code =
      py::reinterpret_steal<py::object>(Py_CompileString(text, file, Py_file_input));
  if (!code) throw py::error_already_set();
  PyObject* const module = PyImport_ExecCodeModuleEx(name, code.ptr(), file);
  if (module == nullptr) throw py::error_already_set();
  return module;
}

}  // namespace

// One interpreter a process, which outlives every use: the references are never given up.

py::object asgi_helpers() {
  static PyObject* const module = run("_green_asgi", "<green>/asgi.py", asgi_py);
  return py::reinterpret_borrow<py::object>(module);
}

py::object interface_helpers() {
  static PyObject* const module = run("_green_interface", "<green>/interface.py", interface_py);
  return py::reinterpret_borrow<py::object>(module);
}

}  // namespace green::python
