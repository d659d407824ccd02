// The start_response callable of one WSGI call (PEP 3333), and the write() it returns.
// With the GIL.
#pragma once

#include <string_view>

#include "daemon/http/application.h"
#include "python/py_ref.h"

namespace green::python {

class StartResponse {
 public:
  /// Made of `spare`, if that is not empty. Empty, with a Python exception set, when out of memory.
  static PyRef create(http::Exchange& exchange, PyRef spare);
  /// True once the application gave a status and headers.
  static bool was_called(PyObject* start_response);
  /// The exchange is over: from here on, calls raise RuntimeError. Returns a spare one, if nobody
  /// else has it.
  static PyRef detach(PyRef start_response);
};

/// What a part of a body from the application holds. False with a Python exception set: TypeError
/// for what is not bytes, RuntimeError for no start_response yet.
bool check_body_part(PyObject* start_response, PyObject* part, std::string_view& data);

/// Checks and sends it. Also raises ValueError for more than the Content-Length,
/// ConnectionResetError for a client that is gone.
bool send_body_part(http::Exchange& exchange, PyObject* start_response, PyObject* part);

}  // namespace green::python
