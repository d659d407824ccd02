// The reason phrases of HTTP's status codes, by IANA's registry (RFC 9110, 16.2). No thread
// affinity.
#pragma once

#include <string_view>

namespace green::http {

/// The standard reason of a status, or empty.
std::string_view standard_reason(int status);

}  // namespace green::http
