// The exception that tells an application that its client is gone, known again in whatever the
// application makes of it. With the GIL.
#pragma once

#include "python/py_ref.h"

namespace green::python {

/// Raises a ConnectionResetError of that text.
void raise_client_gone(const char* text);

/// Whether `error`, an exception, or all of a group's began as one of these: not the application's
/// fault, and expected. One that the client's going only followed (raised by send() while another
/// was handled) is the application's own.
bool comes_of_gone_client(PyObject* error);
/// The same of the exception that is set, which stays so.
bool raised_for_gone_client();

}  // namespace green::python
