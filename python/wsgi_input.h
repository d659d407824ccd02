// wsgi.input (PEP 3333) over a request's body, which was read whole. With the GIL.
#pragma once

#include "daemon/http/body.h"
#include "python/py_ref.h"

namespace green::python {

class WsgiInput {
 public:
  /// An object with read, readline, readlines and iteration, made of `spare` (one that was
  /// detached, and that nobody else has) if that is not empty. Empty, with a Python exception set,
  /// when out of memory.
  static PyRef create(const http::Body& body, PyRef spare);
  /// The request is over: from here on, reads raise ValueError, as on a closed file.
  static void detach(PyObject* input);
};

}  // namespace green::python
