#include "python/file_wrapper.h"

#include <fcntl.h>
#include <pybind11/pybind11.h>
#include <sys/stat.h>

#include "common/high_fd.h"

namespace green::python {
namespace {

namespace py = pybind11;

/// One interpreter a process, which outlives every request: the references are never given up.
struct Types {
  PyObject* wrapper;
  PyObject* raw;
  PyObject* reader;
  PyObject* random;
};

PyObject* class_of(const char* module, const char* name) {
  py::object object = py::module_::import(module).attr(name);
  return object.release().ptr();
}

const Types& types() {
  static const Types all{.wrapper = class_of("wsgiref.util", "FileWrapper"),
                         .raw = class_of("io", "FileIO"),
                         .reader = class_of("io", "BufferedReader"),
                         .random = class_of("io", "BufferedRandom")};
  return all;
}

bool is_exactly(const py::object& object, PyObject* type) {
  return reinterpret_cast<PyObject*>(Py_TYPE(object.ptr())) == type;
}

/// A file whose bytes are those that read() gives: one that unpacks has a fileno() too.
bool is_plain_file(const py::object& file) {
  if (is_exactly(file, types().raw)) return true;
  const bool is_buffered = is_exactly(file, types().reader) || is_exactly(file, types().random);
  return is_buffered && is_exactly(file.attr("raw"), types().raw);
}

std::optional<http::FilePart> part_of(const py::object& file) {
  if (!is_plain_file(file)) return std::nullopt;
  if (is_exactly(file, types().random)) file.attr("flush")();
  const auto position = file.attr("tell")().cast<std::int64_t>();
  const int fd = file.attr("fileno")().cast<int>();
  struct stat status{};
  if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) return std::nullopt;
  // Of /proc and its kind, a read alone tells the size.
  if (position < 0 || status.st_size <= position) return std::nullopt;
  auto own = move_high(Fd(fcntl(fd, F_DUPFD_CLOEXEC, 0)));
  if (!own) return std::nullopt;
  return http::FilePart{.file = std::move(*own),
                        .offset = static_cast<std::uint64_t>(position),
                        .length = static_cast<std::uint64_t>(status.st_size - position)};
}

}  // namespace

PyRef file_wrapper_type() {
  try {
    return PyRef::borrow(types().wrapper);
  } catch (py::error_already_set& error) {
    error.restore();
    return {};
  }
}

std::optional<http::FilePart> file_part_of(PyObject* reply) {
  if (reinterpret_cast<PyObject*>(Py_TYPE(reply)) != types().wrapper) return std::nullopt;
  try {
    return part_of(py::reinterpret_borrow<py::object>(reply).attr("filelike"));
  } catch (const py::error_already_set&) {
    // Not seekable, closed, …: whoever reads it finds the same error.
    return std::nullopt;
  }
}

}  // namespace green::python
