#include "daemon/http/request_target.h"

#include "daemon/http/ascii.h"

namespace green::http {
namespace {

constexpr auto reg_name_characters = make_set("-._~%!$&'()*+,;=");

bool is_port(std::string_view text) {
  if (text.size() > 5) return false;
  int port = 0;
  for (char c : text) {
    if (c < '0' || c > '9') return false;
    port = port * 10 + (c - '0');
  }
  return port <= 65535;
}

void split_query(std::string_view text, RequestTarget& target) {
  const auto mark = text.find('?');
  target.path = text.substr(0, mark);
  if (mark != std::string_view::npos) target.query = text.substr(mark + 1);
}

}  // namespace

bool is_valid_host(std::string_view host) {
  if (host.empty()) return false;
  if (host.front() == '[') {
    const auto end = host.find(']');
    if (end == std::string_view::npos || end < 3) return false;
    if (!is_all_of(host.substr(1, end - 1), make_set(":.%-_~"))) return false;
    const auto rest = host.substr(end + 1);
    return rest.empty() || (rest.front() == ':' && is_port(rest.substr(1)));
  }
  const auto colon = host.find(':');
  if (colon == 0) return false;
  if (colon != std::string_view::npos && !is_port(host.substr(colon + 1))) return false;
  return is_all_of(host.substr(0, colon), reg_name_characters);
}

namespace {

bool read_target(std::string_view method, std::string_view target, RequestTarget& parsed) {
  if (target.find('#') != std::string_view::npos) return false;
  if (target.starts_with('/')) {
    split_query(target, parsed);
    return true;
  }
  if (target == "*") {
    if (method != "OPTIONS") return false;
    parsed.path = target;
    return true;
  }
  const auto scheme_end = target.find("://");
  if (scheme_end == std::string_view::npos) return false;
  const auto scheme = target.substr(0, scheme_end);
  if (!equals_ignoring_case(scheme, "http") && !equals_ignoring_case(scheme, "https")) {
    return false;
  }
  const auto rest = target.substr(scheme_end + 3);
  const auto authority_end = rest.find_first_of("/?");
  parsed.authority = rest.substr(0, authority_end);
  if (!is_valid_host(parsed.authority)) return false;
  if (authority_end != std::string_view::npos) split_query(rest.substr(authority_end), parsed);
  if (parsed.path.empty()) parsed.path = method == "OPTIONS" && parsed.query.empty() ? "*" : "/";
  return true;
}

}  // namespace

std::optional<RequestTarget> parse_target(std::string_view method, std::string_view target) {
  std::optional<RequestTarget> parsed(std::in_place);
  if (!read_target(method, target, *parsed)) parsed.reset();
  return parsed;
}

}  // namespace green::http
