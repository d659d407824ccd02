#include "daemon/http/forwarded.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <optional>

#include "daemon/http/ascii.h"
#include "daemon/http/request_target.h"

namespace green::http {
namespace {

constexpr std::string_view for_name = "x-forwarded-for";
constexpr std::string_view proto_name = "x-forwarded-proto";
constexpr std::string_view host_name = "x-forwarded-host";
constexpr std::string_view port_name = "x-forwarded-port";
constexpr std::string_view prefix = "x-forwarded-";
constexpr std::string_view standard_name = "forwarded";

bool is(const Header& header, std::string_view lower_name) {
  return equals_ignoring_case(header.name, lower_name);
}

bool is_resolved_here(const Header& header) {
  return is(header, for_name) || is(header, proto_name) || is(header, host_name) ||
         is(header, port_name);
}

/// Where the last element of the list begins. Quoted strings are stepped over backwards, so that
/// nothing a client put further left can hide or change what a proxy appended.
std::size_t last_element_begin(std::string_view list) {
  std::size_t i = list.size();
  while (i > 0) {
    --i;
    if (list[i] == ',') return i + 1;
    if (list[i] == '"') {
      const auto open = i == 0 ? std::string_view::npos : list.rfind('"', i - 1);
      if (open == std::string_view::npos) return 0;
      i = open;
    }
  }
  return 0;
}

/// The elements of a list header, however many lines it has, from the right; empty ones left out.
class ListFromRight {
 public:
  ListFromRight(std::span<const Header> headers, std::string_view lower_name)
      : headers_(headers), name_(lower_name) {}

  std::optional<std::string_view> next() {
    for (;;) {
      while (rest_.empty()) {
        if (headers_.empty()) return std::nullopt;
        if (is(headers_.back(), name_)) rest_ = headers_.back().value;
        headers_ = headers_.first(headers_.size() - 1);
      }
      const auto begin = last_element_begin(rest_);
      const auto element = trim_whitespace(rest_.substr(begin));
      rest_ = begin == 0 ? std::string_view{} : rest_.substr(0, begin - 1);
      if (!element.empty()) return element;
    }
  }
  /// The element `index` from the right, or the leftmost where there are fewer.
  std::optional<std::string_view> at_most(std::size_t index) {
    auto found = next();
    for (std::size_t i = 0; found && i < index; ++i) {
      const auto further = next();
      if (!further) break;
      found = further;
    }
    return found;
  }

 private:
  std::span<const Header> headers_;
  std::string_view name_;
  std::string_view rest_;
};

bool is_port(std::string_view text) {
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  return error == std::errc{} && end == text.data() + text.size() && text.front() != '0';
}

struct Node {
  IpAddress address;
  std::string_view port;
};

/// "192.0.2.1", "192.0.2.1:80", "2001:db8::1", "[2001:db8::1]:80"; not "unknown", not "_name".
std::optional<Node> parse_node(std::string_view text) {
  std::string_view port;
  if (text.starts_with('[')) {
    const auto end = text.find(']');
    if (end == std::string_view::npos) return std::nullopt;
    const auto rest = text.substr(end + 1);
    if (!rest.empty() && !rest.starts_with(':')) return std::nullopt;
    if (!rest.empty()) port = rest.substr(1);
    text = text.substr(1, end - 1);
  } else if (std::ranges::count(text, ':') == 1) {
    const auto colon = text.find(':');
    port = text.substr(colon + 1);
    text = text.substr(0, colon);
  }
  const auto address = parse_ip_address(text);
  if (!address) return std::nullopt;
  return Node{*address, is_port(port) ? port : std::string_view{}};
}

std::string_view parse_scheme(std::string_view text) {
  if (equals_ignoring_case(text, "https") || equals_ignoring_case(text, "wss")) return "https";
  if (equals_ignoring_case(text, "http") || equals_ignoring_case(text, "ws")) return "http";
  return {};
}

/// The value of a parameter of a Forwarded element, without quotes; empty where there is none.
std::string_view parameter(std::string_view element, std::string_view lower_name) {
  while (!element.empty()) {
    const auto equals = element.find('=');
    if (equals == std::string_view::npos) return {};
    const auto name = trim_whitespace(element.substr(0, equals));
    auto rest = trim_whitespace(element.substr(equals + 1));
    std::string_view value;
    if (rest.starts_with('"')) {
      const auto end = rest.find('"', 1);
      if (end == std::string_view::npos) return {};
      value = rest.substr(1, end - 1);
      if (value.find('\\') != std::string_view::npos) return {};  // no address or host needs one
      rest = trim_whitespace(rest.substr(end + 1));
      if (!rest.empty() && !rest.starts_with(';')) return {};
    } else {
      value = trim_whitespace(rest.substr(0, rest.find(';')));
      rest = rest.substr(std::min(rest.find(';'), rest.size()));
    }
    if (equals_ignoring_case(name, lower_name)) return value;
    element = rest.empty() ? rest : rest.substr(1);
  }
  return {};
}

struct Findings {
  std::optional<Node> client;
  std::string_view scheme, host, port;
};

/// Walks a list of hops. `address_of` an element; returns the index of the one that counts, by the
/// outermost trusted hop.
template <typename AddressOf>
std::size_t walk(ListFromRight hops, const TrustedPeers& trusted, Findings& findings,
                 AddressOf address_of) {
  std::size_t index = 0;
  for (std::size_t i = 0;; ++i) {
    const auto element = hops.next();
    if (!element) return index;
    index = i;
    const auto node = parse_node(address_of(*element));
    if (!node) return index;
    findings.client = node;
    if (!trusted.trusts(node->address)) return index;
  }
}

Findings read_x_forwarded(std::span<const Header> headers, const TrustedPeers& trusted) {
  Findings findings;
  const auto index = walk(ListFromRight(headers, for_name), trusted, findings,
                          [](std::string_view element) { return element; });
  const auto pick = [&](std::string_view name) {
    return ListFromRight(headers, name).at_most(index).value_or(std::string_view{});
  };
  findings.scheme = parse_scheme(pick(proto_name));
  findings.host = pick(host_name);
  findings.port = pick(port_name);
  return findings;
}

Findings read_standard(std::span<const Header> headers, const TrustedPeers& trusted) {
  Findings findings;
  const auto index = walk(ListFromRight(headers, standard_name), trusted, findings,
                          [](std::string_view element) { return parameter(element, "for"); });
  const auto element = ListFromRight(headers, standard_name).at_most(index);
  if (!element) return findings;
  findings.scheme = parse_scheme(parameter(*element, "proto"));
  findings.host = parameter(*element, "host");
  return findings;
}

struct HostAndPort {
  std::string_view host, port;
};

HostAndPort split_port(std::string_view host) {
  const auto colon = host.rfind(':');
  if (colon == std::string_view::npos || host.ends_with(']')) return {host, {}};
  return {host.substr(0, colon), host.substr(colon + 1)};
}

void set_host(std::string_view host, std::vector<Header>& headers) {
  const auto known =
      std::ranges::find_if(headers, [](const Header& header) { return is(header, "host"); });
  if (known == headers.end()) {
    headers.push_back({"Host", host});
  } else {
    known->value = host;
  }
}

std::string_view host_of(std::span<const Header> headers) {
  for (const Header& header : headers) {
    if (is(header, "host")) return header.value;
  }
  return {};
}

}  // namespace

bool is_forwarding_header(std::string_view name) {
  return equals_ignoring_case(name, standard_name) ||
         (name.size() > prefix.size() &&
          equals_ignoring_case(name.substr(0, prefix.size()), prefix));
}

void apply_forwarded(const TrustedPeers& trusted, bool peer_is_believed,
                     std::vector<Header>& headers, Request& request, Endpoints& endpoints) {
  if (!peer_is_believed) {
    std::erase_if(headers, [](const Header& header) { return is_forwarding_header(header.name); });
    request.headers = headers;
    return;
  }
  const bool has_own = std::ranges::any_of(headers, is_resolved_here);
  auto findings = has_own ? read_x_forwarded(headers, trusted) : read_standard(headers, trusted);
  if (has_own) std::erase_if(headers, [](const Header& h) { return is(h, standard_name); });

  if (findings.client) {
    endpoints.remote_address = to_text(findings.client->address);
    endpoints.remote_port = findings.client->port;
  }
  if (!findings.scheme.empty()) request.scheme = findings.scheme;
  if (!is_valid_host(findings.host)) findings.host = {};
  if (!findings.host.empty()) set_host(findings.host, headers);
  request.headers = headers;

  const auto [host, host_port] = split_port(host_of(headers));
  if (is_port(findings.port)) {
    endpoints.local_port = findings.port;
  } else if (!findings.scheme.empty() || !findings.host.empty()) {
    endpoints.local_port = is_port(host_port)          ? host_port
                           : request.scheme == "https" ? "443"
                                                       : "80";
  } else {
    return;
  }
  if (endpoints.local_address.empty() || endpoints.local_address.starts_with('/')) {
    endpoints.local_address = host.empty() ? "localhost" : host;  // not a unix socket's path
  }
}

}  // namespace green::http
