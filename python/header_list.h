// The lists of (name, value) tuples that WSGI has for headers. With the GIL.
#pragma once

#include <Python.h>

#include <vector>

#include "daemon/http/application.h"

namespace green::python {

/// Views of `list`'s texts. False with an exception set that begins with `caller`: TypeError for
/// other types, ValueError for characters outside latin-1.
bool read_headers(const char* caller, PyObject* list, std::vector<http::Header>& headers);

/// Raises what an exchange answered: ConnectionResetError for a client that is gone, else
/// ValueError.
void raise_error(const Error& error);

}  // namespace green::python
