// The text of Python exceptions. Caller holds the GIL.
#pragma once

#include <string>

namespace green::python {

/// Takes the exception that is set and returns it as Python would print it: chained causes, notes
/// and the last line included. "" when none is set. Never leaves an exception set.
std::string take_traceback();

/// Takes the exception that is set and returns its last line alone: "ValueError: bad".
std::string take_exception_line();

}  // namespace green::python
