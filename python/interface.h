// Which of Python's two interfaces an application speaks. The interpreter's thread, with the GIL.
#pragma once

#include <Python.h>

#include <expected>

#include "common/settings.h"
#include "python/runtime.h"

namespace green::python {

enum class Interface { wsgi, asgi };

/// settings.interface, or, where that is "auto", what the application looks like. Fails for an ASGI
/// 2 application (StartFailure::configuration).
std::expected<Interface, LoadFailure> choose_interface(const Settings& settings,
                                                       PyObject* application);

}  // namespace green::python
