#include "daemon/http/request_head.h"

#include "daemon/http/ascii.h"
#include "daemon/http/forwarded.h"
#include "daemon/http/request_target.h"

namespace green::http {
namespace {

bool is(const Header& header, std::string_view lower_name) {
  return equals_ignoring_case(header.name, lower_name);
}

bool may_be_forwarding(std::string_view name) {
  return name.size() >= 9 && (ascii_lower(name.front()) == 'x' || ascii_lower(name.front()) == 'f');
}

}  // namespace

void RequestHead::clear() {
  headers_.clear();
  request_ = {};
  expects_continue_ = has_forwarding_headers_ = false;
}

void RequestHead::add(std::string_view name, std::string_view value) {
  headers_.push_back({name, trim_whitespace(value)});
}

std::optional<Rejection> RequestHead::check(const HeadFindings& findings, const Limits& limits) {
  request_.method = findings.method;
  request_.target = findings.target;
  request_.version_minor = findings.version_minor;
  if (request_.method == "CONNECT") return Rejection{501, "CONNECT is not served here"};
  const auto parsed = parse_target(request_.method, request_.target);
  if (!parsed) return Rejection{400, "malformed request target"};
  request_.path = parsed->path;
  request_.query = parsed->query;

  if (auto refused = check_headers(findings, limits.header_map)) return refused;
  if (!parsed->authority.empty()) {
    if (Header* const host = find_host()) {
      host->value = parsed->authority;
    } else {
      headers_.push_back({"Host", parsed->authority});
    }
  }
  if (findings.has_transfer_encoding) {
    if (auto refused = check_transfer_coding(findings)) return refused;
  } else if (limits.body_bytes != 0 && findings.content_length > limits.body_bytes) {
    return Rejection{413, "the body is too long"};
  }
  request_.headers = headers_;
  request_.chunked = findings.is_chunked;
  return std::nullopt;
}

std::optional<Rejection> RequestHead::check_headers(const HeadFindings& findings, HeaderMap map) {
  int host_count = 0;
  std::size_t underscored = 0;
  for (const Header& header : headers_) {
    if (header.name.find('_') != std::string_view::npos) {
      ++underscored;
    } else if (header.name.size() == 4 && is(header, "host")) {
      ++host_count;
      if (!is_valid_host(header.value)) return Rejection{400, "malformed Host header"};
    } else if (header.name.size() == 6 && is(header, "expect")) {
      if (findings.version_minor == 0) continue;
      for (auto list = header.value; !list.empty();) {
        const auto expectation = next_element(list);
        if (expectation.empty()) continue;
        if (!equals_ignoring_case(expectation, "100-continue")) {
          return Rejection{417, "the expectation is unknown"};
        }
        expects_continue_ = true;
      }
    } else if (may_be_forwarding(header.name) && is_forwarding_header(header.name)) {
      has_forwarding_headers_ = true;
    }
  }
  if (host_count > 1) return Rejection{400, "more than one Host header"};
  if (host_count == 0 && findings.version_minor != 0) return Rejection{400, "no Host header"};
  if (underscored == 0) return std::nullopt;
  if (map == HeaderMap::refuse) return Rejection{400, "a header's name has an underscore"};
  std::erase_if(headers_, [](const Header& header) {
    return header.name.find('_') != std::string_view::npos;
  });
  return std::nullopt;
}

std::optional<Rejection> RequestHead::check_transfer_coding(const HeadFindings& findings) const {
  if (findings.version_minor == 0) return Rejection{400, "Transfer-Encoding in HTTP/1.0"};
  int chunked_count = 0;
  for (const Header& header : headers_) {
    if (header.name.size() != 17 || !is(header, "transfer-encoding")) continue;
    auto list = header.value;
    while (!list.empty()) {
      const auto coding = next_element(list);
      if (coding.empty()) continue;
      if (!equals_ignoring_case(coding, "chunked")) {
        return Rejection{501, "the transfer coding is unknown"};
      }
      ++chunked_count;
    }
  }
  if (chunked_count != 1 || !findings.is_chunked) {
    return Rejection{400, "malformed Transfer-Encoding"};
  }
  return std::nullopt;
}

Header* RequestHead::find_host() {
  for (Header& header : headers_) {
    if (header.name.size() == 4 && is(header, "host")) return &header;
  }
  return nullptr;
}

}  // namespace green::http
