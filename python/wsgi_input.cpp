#include "python/wsgi_input.h"

#include <algorithm>
#include <array>
#include <optional>
#include <span>
#include <string>

namespace green::python {
namespace {

struct WsgiInputObject {
  PyObject_HEAD const http::Body* body;  ///< null once detached
  std::uint64_t offset;
};

WsgiInputObject* as_input(PyObject* object) { return reinterpret_cast<WsgiInputObject*>(object); }

bool is_open(const WsgiInputObject& self) {
  if (self.body != nullptr) return true;
  PyErr_SetString(PyExc_ValueError, "wsgi.input was read after the request was answered");
  return false;
}

std::uint64_t remaining(const WsgiInputObject& self) { return self.body->size() - self.offset; }

/// The optional size argument of the read methods: none, None or negative means "all".
bool read_size(PyObject* const* arguments, Py_ssize_t count, std::optional<std::uint64_t>& size) {
  if (count > 1) {
    PyErr_Format(PyExc_TypeError, "wsgi.input: at most 1 argument, not %zd", count);
    return false;
  }
  if (count == 0 || arguments[0] == Py_None) return true;
  const PyRef index = PyRef::steal(PyNumber_Index(arguments[0]));
  if (!index) return false;
  int overflow = 0;
  const long long value = PyLong_AsLongLongAndOverflow(index.get(), &overflow);
  if (overflow == 0 && value >= 0) size = static_cast<std::uint64_t>(value);
  return true;
}

/// The next `size` bytes (there are as many) as a bytes object; the offset moves past them.
PyObject* take(WsgiInputObject& self, std::uint64_t size) {
  const http::Body& body = *self.body;
  if (body.in_memory()) {
    const std::string_view part =
        body.memory().substr(static_cast<std::size_t>(self.offset), static_cast<std::size_t>(size));
    self.offset += size;
    return PyBytes_FromStringAndSize(part.data(), static_cast<Py_ssize_t>(part.size()));
  }
  PyRef bytes = PyRef::steal(PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(size)));
  if (!bytes) return nullptr;
  std::span<char> rest(PyBytes_AS_STRING(bytes.get()), static_cast<std::size_t>(size));
  while (!rest.empty()) {
    const auto got = body.read(self.offset, rest);
    if (!got || *got == 0) {
      PyErr_Format(PyExc_OSError, "reading the request's body: %s",
                   got ? "its temporary file was truncated" : got.error().message().c_str());
      return nullptr;
    }
    self.offset += *got;
    rest = rest.subspan(*got);
  }
  return bytes.release();
}

/// Bytes up to and with the next newline, at most `limit`; nullopt with an exception set.
std::optional<std::uint64_t> line_size(const WsgiInputObject& self, std::uint64_t limit) {
  const http::Body& body = *self.body;
  if (body.in_memory()) {
    const std::string_view rest = body.memory().substr(static_cast<std::size_t>(self.offset),
                                                       static_cast<std::size_t>(limit));
    const std::size_t newline = rest.find('\n');
    return newline == std::string_view::npos ? rest.size() : newline + 1;
  }
  std::array<char, 8192> window;
  std::uint64_t size = 0;
  while (size < limit) {
    const auto wanted =
        static_cast<std::size_t>(std::min<std::uint64_t>(window.size(), limit - size));
    const auto got = body.read(self.offset + size, std::span(window.data(), wanted));
    if (!got) {
      PyErr_Format(PyExc_OSError, "reading the request's body: %s", got.error().message().c_str());
      return std::nullopt;
    }
    if (*got == 0) break;
    const std::string_view part(window.data(), *got);
    const std::size_t newline = part.find('\n');
    if (newline != std::string_view::npos) return size + newline + 1;
    size += *got;
  }
  return size;
}

PyObject* take_line(WsgiInputObject& self, std::optional<std::uint64_t> limit) {
  const auto size = line_size(self, std::min(limit.value_or(remaining(self)), remaining(self)));
  return size ? take(self, *size) : nullptr;
}

PyObject* read(PyObject* object, PyObject* const* arguments, Py_ssize_t count) {
  WsgiInputObject& self = *as_input(object);
  std::optional<std::uint64_t> size;
  if (!read_size(arguments, count, size) || !is_open(self)) return nullptr;
  return take(self, std::min(size.value_or(remaining(self)), remaining(self)));
}

PyObject* readline(PyObject* object, PyObject* const* arguments, Py_ssize_t count) {
  WsgiInputObject& self = *as_input(object);
  std::optional<std::uint64_t> size;
  if (!read_size(arguments, count, size) || !is_open(self)) return nullptr;
  return take_line(self, size);
}

/// `hint`: no more lines once they hold as many bytes; none or not positive: all (io.IOBase).
PyObject* readlines(PyObject* object, PyObject* const* arguments, Py_ssize_t count) {
  WsgiInputObject& self = *as_input(object);
  std::optional<std::uint64_t> hint;
  if (!read_size(arguments, count, hint)) return nullptr;
  PyRef lines = PyRef::steal(PyList_New(0));
  if (!lines || !is_open(self)) return nullptr;
  const std::uint64_t start = self.offset;
  const std::uint64_t enough = hint.value_or(0);
  while (remaining(self) > 0 && (enough == 0 || self.offset - start < enough)) {
    const PyRef line = PyRef::steal(take_line(self, std::nullopt));
    if (!line || PyList_Append(lines.get(), line.get()) < 0) return nullptr;
  }
  return lines.release();
}

PyObject* next(PyObject* object) {
  WsgiInputObject& self = *as_input(object);
  if (!is_open(self) || remaining(self) == 0) return nullptr;  // null alone: StopIteration
  return take_line(self, std::nullopt);
}

void deallocate(PyObject* object) {
  PyTypeObject* type = Py_TYPE(object);
  type->tp_free(object);
  Py_DECREF(type);
}

PyCFunction as_method(_PyCFunctionFast function) {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function));
}

PyTypeObject* input_type() {
  static PyMethodDef methods[] = {{"read", as_method(read), METH_FASTCALL, nullptr},
                                  {"readline", as_method(readline), METH_FASTCALL, nullptr},
                                  {"readlines", as_method(readlines), METH_FASTCALL, nullptr},
                                  {nullptr, nullptr, 0, nullptr}};
  static PyType_Slot slots[] = {{Py_tp_dealloc, reinterpret_cast<void*>(deallocate)},
                                {Py_tp_iter, reinterpret_cast<void*>(PyObject_SelfIter)},
                                {Py_tp_iternext, reinterpret_cast<void*>(next)},
                                {Py_tp_methods, methods},
                                {0, nullptr}};
  static PyType_Spec spec{"green.input", sizeof(WsgiInputObject), 0,
                          Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};
  // One interpreter a process, which outlives every request: the reference is never given up.
  static PyTypeObject* type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
  return type;
}

}  // namespace

PyRef WsgiInput::create(const http::Body& body, PyRef spare) {
  PyRef object = std::move(spare);
  if (!object) {
    PyTypeObject* type = input_type();
    if (type != nullptr) object = PyRef::steal(type->tp_alloc(type, 0));
    if (!object) return {};
  }
  as_input(object.get())->body = &body;
  as_input(object.get())->offset = 0;
  return object;
}

void WsgiInput::detach(PyObject* input) { as_input(input)->body = nullptr; }

}  // namespace green::python
