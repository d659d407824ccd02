// wsgi.file_wrapper: which of the replies that applications wrap in it are real files, to be sent
// by the kernel. With the GIL.
#pragma once

#include <optional>

#include "daemon/http/application.h"
#include "python/py_ref.h"

namespace green::python {

/// The class: wsgiref's own, which reads whatever is no real file. Empty, with an exception set, on
/// an error.
PyRef file_wrapper_type();

/// From the file's current position to its end, by a descriptor of its own: the application may
/// close its file at once. nullopt, without an exception, of all that must be read instead: other
/// objects, files that decode what they read, pipes, and files whose size the kernel does not know.
std::optional<http::FilePart> file_part_of(PyObject* reply);

}  // namespace green::python
