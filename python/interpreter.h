// Starts the embedded interpreter for a site's settings. Zygote's only thread, once a process; the
// caller holds the GIL afterwards.
#pragma once

#include <expected>

#include "common/settings.h"
#include "python/runtime.h"

namespace green::python {

/// Applies env, chdir, python and pythonpath, in this order of effect:
///  - PYTHON* variables the process came with are dropped (they were meant for another Python),
///  then
///    settings.env is set;
///  - `python` is taken relative to the folder the process was started in, then chdir is done;
///  - sys.path: pythonpath in its order, the working folder, then the standard library and
///  site-packages;
///  - no signal handlers, no user site-packages; standard output and error are line-buffered, or
///    entries of the journal where they lead there (standard_streams.h).
std::expected<void, LoadFailure> start_interpreter(const Settings& settings);

}  // namespace green::python
