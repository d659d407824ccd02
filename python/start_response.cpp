#include "python/start_response.h"

#include <cstddef>
#include <optional>
#include <string_view>
#include <vector>

#include "python/application_fork.h"
#include "python/callable_type.h"
#include "python/header_list.h"
#include "python/latin1.h"

namespace green::python {
namespace {

struct WriteObject;

struct StartResponseObject {
  PyObject_HEAD vectorcallfunc vectorcall;
  http::Exchange* exchange;  ///< null once detached
  WriteObject* write;        ///< owned; null before the first call
  bool was_called;
};

/// The write() that start_response returns.
struct WriteObject {
  PyObject_HEAD vectorcallfunc vectorcall;
  StartResponseObject* start_response;  ///< null once that is over
};

StartResponseObject* as_start_response(PyObject* object) {
  return reinterpret_cast<StartResponseObject*>(object);
}
WriteObject* as_write(PyObject* object) { return reinterpret_cast<WriteObject*>(object); }
PyObject* as_object(WriteObject* write) { return reinterpret_cast<PyObject*>(write); }

void raise(PyObject* type, const char* what, PyObject* object) {
  PyErr_Format(type, "%s, not %.200s", what, Py_TYPE(object)->tp_name);
}

struct Status {
  int code = 0;
  std::string_view reason;
};

bool read_status(PyObject* object, Status& status) {
  if (!PyUnicode_Check(object)) {
    raise(PyExc_TypeError, "start_response: the status must be a str such as '200 OK'", object);
    return false;
  }
  const auto text = latin1_view(object);
  const auto is_digit = [&text](std::size_t i) { return (*text)[i] >= '0' && (*text)[i] <= '9'; };
  if (!text || text->size() < 3 || !is_digit(0) || !is_digit(1) || !is_digit(2) ||
      (text->size() > 3 && (*text)[3] != ' ')) {
    PyErr_Format(PyExc_ValueError, "start_response: bad status %R: it must be such as '200 OK'",
                 object);
    return false;
  }
  status.code = ((*text)[0] - '0') * 100 + ((*text)[1] - '0') * 10 + ((*text)[2] - '0');
  if (status.code < 200) {
    PyErr_Format(PyExc_ValueError, "start_response: status %R does not end a request", object);
    return false;
  }
  if (text->size() > 4) status.reason = text->substr(4);
  return true;
}

/// Raises the exception that the application passed as exc_info, with its traceback.
void raise_again(PyObject* exc_info) {
  PyErr_Restore(Py_NewRef(PyTuple_GET_ITEM(exc_info, 0)), Py_NewRef(PyTuple_GET_ITEM(exc_info, 1)),
                Py_NewRef(PyTuple_GET_ITEM(exc_info, 2)));
}

/// PEP 3333: a second call only with exc_info, and with it, only while nothing was sent.
bool may_start(const StartResponseObject& self, PyObject* exc_info) {
  if (exc_info == nullptr || exc_info == Py_None) {
    if (!self.was_called) return true;
    PyErr_SetString(PyExc_RuntimeError,
                    "start_response was called before: again only with exc_info");
    return false;
  }
  if (!PyTuple_Check(exc_info) || PyTuple_GET_SIZE(exc_info) != 3 ||
      !PyExceptionClass_Check(PyTuple_GET_ITEM(exc_info, 0))) {
    raise(PyExc_TypeError, "start_response: exc_info must be what sys.exc_info() returns",
          exc_info);
    return false;
  }
  if (!self.exchange->head_sent()) return true;
  raise_again(exc_info);
  return false;
}

PyObject* write(PyObject* object, PyObject* const* arguments, std::size_t flags, PyObject* names) {
  StartResponseObject* start_response = as_write(object)->start_response;
  end_if_forked();
  if (PyVectorcall_NARGS(flags) != 1 || names != nullptr) {
    PyErr_SetString(PyExc_TypeError, "write() takes a bytes object, and nothing else");
    return nullptr;
  }
  if (start_response == nullptr || start_response->exchange == nullptr) {
    PyErr_SetString(PyExc_RuntimeError, "write() was called after the request was answered");
    return nullptr;
  }
  if (!send_body_part(*start_response->exchange, reinterpret_cast<PyObject*>(start_response),
                      arguments[0]))
    return nullptr;
  Py_RETURN_NONE;
}

/// The arguments by position or, as some middleware passes exc_info, by name.
bool read_arguments(PyObject* const* arguments, std::size_t flags, PyObject* names,
                    PyObject* (&values)[3]) {
  const Py_ssize_t positional = PyVectorcall_NARGS(flags);
  const Py_ssize_t named = names == nullptr ? 0 : PyTuple_GET_SIZE(names);
  constexpr const char* known[] = {"status", "headers", "exc_info"};
  if (positional > 3) {
    PyErr_Format(PyExc_TypeError, "start_response takes 2 or 3 arguments, not %zd",
                 positional + named);
    return false;
  }
  for (Py_ssize_t i = 0; i < positional; ++i) values[i] = arguments[i];
  for (Py_ssize_t i = 0; i < named; ++i) {
    PyObject* name = PyTuple_GET_ITEM(names, i);
    PyObject** place = nullptr;
    for (std::size_t k = 0; k < 3; ++k)
      if (PyUnicode_CompareWithASCIIString(name, known[k]) == 0) place = &values[k];
    if (place == nullptr && PyUnicode_CompareWithASCIIString(name, "response_headers") == 0)
      place = &values[1];
    if (place == nullptr || *place != nullptr) {
      PyErr_Format(PyExc_TypeError, "start_response: unexpected argument '%U'", name);
      return false;
    }
    *place = arguments[positional + i];
  }
  if (values[0] != nullptr && values[1] != nullptr) return true;
  PyErr_SetString(PyExc_TypeError, "start_response takes a status and a list of headers");
  return false;
}

/// From here on, its write() raises RuntimeError.
void forget_write(StartResponseObject& self) {
  WriteObject* write = std::exchange(self.write, nullptr);
  if (write == nullptr) return;
  write->start_response = nullptr;
  Py_DECREF(as_object(write));
}

void deallocate_start_response(PyObject* object) {
  forget_write(*as_start_response(object));
  free_instance(object);
}

/// A new reference; null with an exception set.
PyObject* write_of(StartResponseObject& self) {
  static PyTypeObject* type = make_callable_type("green.write", sizeof(WriteObject),
                                                 offsetof(WriteObject, vectorcall), free_instance);
  if (self.write == nullptr) {
    self.write = type == nullptr ? nullptr : as_write(type->tp_alloc(type, 0));
    if (self.write == nullptr) return nullptr;
    self.write->vectorcall = write;
    self.write->start_response = &self;
  }
  return Py_NewRef(as_object(self.write));
}

PyObject* call(PyObject* object, PyObject* const* arguments, std::size_t flags, PyObject* names) {
  StartResponseObject& self = *as_start_response(object);
  PyObject* values[3] = {nullptr, nullptr, nullptr};
  if (!read_arguments(arguments, flags, names, values)) return nullptr;
  if (self.exchange == nullptr) {
    PyErr_SetString(PyExc_RuntimeError, "start_response was called after the request was answered");
    return nullptr;
  }
  if (!may_start(self, values[2])) return nullptr;
  Status status;
  thread_local std::vector<http::Header> headers;  // its capacity is kept from call to call
  if (!read_status(values[0], status) || !read_headers("start_response", values[1], headers))
    return nullptr;
  if (const auto started = self.exchange->start(status.code, status.reason, headers); !started) {
    raise_error(started.error());
    return nullptr;
  }
  self.was_called = true;
  return write_of(self);
}

PyTypeObject* start_response_type() {
  // One interpreter a process, which outlives every request: the reference is never given up.
  static PyTypeObject* type =
      make_callable_type("green.start_response", sizeof(StartResponseObject),
                         offsetof(StartResponseObject, vectorcall), deallocate_start_response);
  return type;
}

}  // namespace

PyRef StartResponse::create(http::Exchange& exchange, PyRef spare) {
  PyRef object = std::move(spare);
  if (!object) {
    PyTypeObject* type = start_response_type();
    if (type != nullptr) object = PyRef::steal(type->tp_alloc(type, 0));
    if (!object) return {};
    as_start_response(object.get())->vectorcall = call;
  }
  StartResponseObject& self = *as_start_response(object.get());
  self.exchange = &exchange;
  self.was_called = false;
  return object;
}

bool StartResponse::was_called(PyObject* start_response) {
  return as_start_response(start_response)->was_called;
}

PyRef StartResponse::detach(PyRef start_response) {
  StartResponseObject& self = *as_start_response(start_response.get());
  self.exchange = nullptr;
  // What somebody keeps must go on to raise, not serve a later request.
  if (self.write != nullptr && Py_REFCNT(as_object(self.write)) > 1) forget_write(self);
  return Py_REFCNT(start_response.get()) == 1 ? std::move(start_response) : PyRef();
}

bool check_body_part(PyObject* start_response, PyObject* part, std::string_view& data) {
  if (!PyBytes_Check(part)) {
    raise(PyExc_TypeError, "the application's body must be made of bytes", part);
    return false;
  }
  if (!StartResponse::was_called(start_response)) {
    PyErr_SetString(PyExc_RuntimeError,
                    "the application sent a body before it called start_response");
    return false;
  }
  data = {PyBytes_AS_STRING(part), static_cast<std::size_t>(PyBytes_GET_SIZE(part))};
  return true;
}

bool send_body_part(http::Exchange& exchange, PyObject* start_response, PyObject* part) {
  std::string_view data;
  if (!check_body_part(start_response, part, data)) return false;
  if (data.empty()) return true;
  const auto written = exchange.write(data);
  if (!written) raise_error(written.error());
  return written.has_value();
}

}  // namespace green::python
