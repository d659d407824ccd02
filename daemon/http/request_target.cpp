#include "daemon/http/request_target.h"

#include "daemon/http/ascii.h"

namespace green::http {
namespace {

constexpr auto reg_name_characters = make_set("-._~%!$&'()*+,;=");

bool all_of_set(std::string_view text, const std::array<bool, 256>& set) {
  for (char c : text) {
    if (!set[static_cast<unsigned char>(c)]) return false;
  }
  return true;
}

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
    if (!all_of_set(host.substr(1, end - 1), make_set(":.%-_~"))) return false;
    const auto rest = host.substr(end + 1);
    return rest.empty() || (rest.front() == ':' && is_port(rest.substr(1)));
  }
  const auto colon = host.find(':');
  if (colon == 0) return false;
  if (colon != std::string_view::npos && !is_port(host.substr(colon + 1))) return false;
  return all_of_set(host.substr(0, colon), reg_name_characters);
}

std::optional<RequestTarget> parse_target(std::string_view method, std::string_view target) {
  RequestTarget parsed;
  if (target.find('#') != std::string_view::npos) return std::nullopt;
  if (target.starts_with('/')) {
    split_query(target, parsed);
    return parsed;
  }
  if (target == "*") {
    if (method != "OPTIONS") return std::nullopt;
    parsed.path = target;
    return parsed;
  }
  const auto scheme_end = target.find("://");
  if (scheme_end == std::string_view::npos) return std::nullopt;
  const auto scheme = target.substr(0, scheme_end);
  if (!equals_ignoring_case(scheme, "http") && !equals_ignoring_case(scheme, "https")) {
    return std::nullopt;
  }
  const auto rest = target.substr(scheme_end + 3);
  const auto authority_end = rest.find_first_of("/?");
  parsed.authority = rest.substr(0, authority_end);
  if (!is_valid_host(parsed.authority)) return std::nullopt;
  if (authority_end != std::string_view::npos) split_query(rest.substr(authority_end), parsed);
  if (parsed.path.empty()) parsed.path = method == "OPTIONS" && parsed.query.empty() ? "*" : "/";
  return parsed;
}

}  // namespace green::http
