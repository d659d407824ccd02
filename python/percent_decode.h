// Percent-encoded paths. No thread affinity.
#pragma once

#include <string>
#include <string_view>

namespace green::python {

/// Into `decoded`. What is not a valid escape stays as it is, as in urllib.parse.unquote.
void percent_decode(std::string_view path, std::string& decoded);

}  // namespace green::python
