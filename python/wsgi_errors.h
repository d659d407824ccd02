// wsgi.errors: a text stream whose lines become log entries of the worker. With the GIL.
//
// Their level is that of the record which a logging handler writes, else warning, and no log_level
// hides them: frameworks send there whatever their own loggers let pass. What one print() or
// handler writes is one entry, so that a logged traceback stays whole; text without a newline at
// its end waits for one, for flush(), or for the end of the request.
#pragma once

#include "python/py_ref.h"

namespace green::python {

/// An object with write, writelines and flush. Empty, with a Python exception set, when out of
/// memory.
PyRef make_wsgi_errors();

/// Logs what this thread wrote without a newline.
void flush_wsgi_errors();

}  // namespace green::python
