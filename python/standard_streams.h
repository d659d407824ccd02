// sys.stdout and sys.stderr of a service, whose lines are entries of the journal with the fields of
// their worker. Zygote's only thread, once the interpreter has started.
#pragma once

namespace green::python {

/// Replaces each that leads to the journal (log.h); others stay as they are. Never blocks whoever
/// prints: what the journal does not take is lost. Descriptors 1 and 2 stay, for C code and
/// sub-processes: their lines are the unit's, without a worker. Throws py::error_already_set.
void log_standard_streams();

}  // namespace green::python
