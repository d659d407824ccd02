// The request-target's forms (RFC 9112, 3.2) and the grammar of Host. No thread affinity.
#pragma once

#include <optional>
#include <string_view>

namespace green::http {

struct RequestTarget {
  std::string_view path;       ///< "/" for an absolute-form target without one; "*"
  std::string_view query;      ///< without '?'
  std::string_view authority;  ///< of an absolute-form target, else empty
};

/// nullopt: not a target that `method` may have. CONNECT's authority-form is none here.
std::optional<RequestTarget> parse_target(std::string_view method, std::string_view target);

/// uri-host [":" port], not empty, no userinfo.
bool is_valid_host(std::string_view host);

}  // namespace green::http
