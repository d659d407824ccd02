// The parts of green-worker that are written in Python (python/green/): kept in the program, so
// that no site can do without them. With the GIL.
#pragma once

#include <pybind11/pybind11.h>

namespace green::python {

// Each is run by its first call. They throw pybind11::error_already_set.

/// python/green/asgi.py, which imports asyncio.
pybind11::object asgi_helpers();
/// python/green/interface.py
pybind11::object interface_helpers();

}  // namespace green::python
