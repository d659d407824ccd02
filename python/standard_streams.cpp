#include "python/standard_streams.h"

#include <pybind11/embed.h>
#include <unistd.h>

#include <string>

#include "common/log.h"
#include "python/application_output.h"
#include "python/traceback.h"

namespace green::python {
namespace {

namespace py = pybind11;

template <TextSource source>
PyObject* write(PyObject*, PyObject* data) {
  Py_buffer bytes;
  if (PyObject_GetBuffer(data, &bytes, PyBUF_SIMPLE) < 0) return nullptr;
  log_application_text(source,
                       {static_cast<const char*>(bytes.buf), static_cast<std::size_t>(bytes.len)});
  const Py_ssize_t length = bytes.len;
  PyBuffer_Release(&bytes);
  return PyLong_FromSsize_t(length);
}

template <TextSource source>
PyObject* flush(PyObject*, PyObject*) {
  finish_application_text(source);
  Py_RETURN_NONE;
}

PyObject* writable(PyObject*, PyObject*) { Py_RETURN_TRUE; }

template <int fd>
PyObject* fileno(PyObject*, PyObject*) {
  return PyLong_FromLong(fd);
}

/// An io.RawIOBase of its own type.
template <TextSource source, int fd>
py::object make_raw_stream(const py::module_& io, const char* name) {
  static PyMethodDef methods[] = {{"write", write<source>, METH_O, nullptr},
                                  {"flush", flush<source>, METH_NOARGS, nullptr},
                                  {"writable", writable, METH_NOARGS, nullptr},
                                  {"fileno", fileno<fd>, METH_NOARGS, nullptr},
                                  {nullptr, nullptr, 0, nullptr}};
  static PyType_Slot slots[] = {{Py_tp_methods, methods}, {0, nullptr}};
  static PyType_Spec spec{"green.journal_stream", 0, 0, Py_TPFLAGS_DEFAULT, slots};
  const py::object bases = py::make_tuple(io.attr("RawIOBase"));
  const auto type = py::reinterpret_steal<py::object>(PyType_FromSpecWithBases(&spec, bases.ptr()));
  if (!type) throw py::error_already_set();
  py::object stream = type();
  stream.attr("name") = name;
  stream.attr("mode") = "wb";
  return stream;
}

/// Each write() goes on at once, so that application_output.h sees who wrote, and threads do not
/// mix.
py::object make_text_stream(const py::module_& io, const py::object& raw) {
  return io.attr("TextIOWrapper")(raw, py::arg("encoding") = "utf-8",
                                  py::arg("errors") = "backslashreplace", py::arg("newline") = "\n",
                                  py::arg("write_through") = true);
}

/// What threading.excepthook() writes line by line, as one entry. Where the application has put a
/// stream of its own in the place of ours, that gets it.
void log_uncaught(const py::object& stream, const py::object& python_own, const py::object& args) {
  const py::object current = py::module_::import("sys").attr("stderr");
  if (!current.is(stream)) {
    python_own(args);
    return;
  }
  const py::object type = args.attr("exc_type");
  if (type.ptr() == PyExc_SystemExit) return;
  const py::object thread = args.attr("thread");
  const std::string name =
      thread.is_none() ? std::string("?") : py::str(thread.attr("name")).cast<std::string>();
  py::object value = args.attr("exc_value");
  if (value.is_none()) value = type();
  PyErr_Restore(py::object(type).release().ptr(), value.release().ptr(),
                py::object(args.attr("exc_traceback")).release().ptr());
  log_error("Exception in thread {}:\n{}", name, take_traceback());
}

void log_uncaught_of_threads(const py::object& stream) {
  const py::module_ threading = py::module_::import("threading");
  const py::object python_own = threading.attr("excepthook");
  threading.attr("excepthook") = py::cpp_function(
      [stream, python_own](const py::object& args) { log_uncaught(stream, python_own, args); });
}

}  // namespace

void log_standard_streams() {
  py::module_ sys = py::module_::import("sys");
  const py::module_ io = py::module_::import("io");
  if (is_journal_stream(STDOUT_FILENO))
    sys.attr("stdout") =
        make_text_stream(io, make_raw_stream<TextSource::output, STDOUT_FILENO>(io, "<stdout>"));
  if (!is_journal_stream(STDERR_FILENO)) return;
  const py::object errors =
      make_text_stream(io, make_raw_stream<TextSource::errors, STDERR_FILENO>(io, "<stderr>"));
  sys.attr("stderr") = errors;
  log_uncaught_of_threads(errors);
}

}  // namespace green::python
