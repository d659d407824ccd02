// A request's head once its grammar is known to be good: what RFC 9110 and 9112 ask beyond it, and
// the Request that comes of it. Loop thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "daemon/http/application.h"
#include "daemon/http/limits.h"

namespace green::http {

/// Why a request is refused.
struct Rejection {
  int status;
  std::string_view explanation;  ///< a constant
};

/// What the parser found besides the headers.
struct HeadFindings {
  std::string_view method;
  std::string_view target;
  int version_minor = 1;
  bool has_transfer_encoding = false;
  bool is_chunked = false;           ///< chunked is the last coding
  std::uint64_t content_length = 0;  ///< 0 without one
};

class RequestHead {
 public:
  void clear();
  void reserve(std::size_t header_count) { headers_.reserve(header_count); }
  /// The next header, as received; views outlive the head's use.
  void add(std::string_view name, std::string_view value);
  /// nullopt: it may be served, and request() holds.
  std::optional<Rejection> check(const HeadFindings& findings, const Limits& limits);

  /// All but endpoints and body, which are for others to add.
  Request& request() { return request_; }
  const Request& request() const { return request_; }
  /// Those of the request, to be changed with it.
  std::vector<Header>& headers() { return headers_; }
  bool expects_continue() const { return expects_continue_; }
  bool has_forwarding_headers() const { return has_forwarding_headers_; }

 private:
  std::optional<Rejection> check_headers(const HeadFindings& findings, HeaderMap map);
  std::optional<Rejection> check_transfer_coding(const HeadFindings& findings) const;
  Header* find_host();

  std::vector<Header> headers_;
  Request request_;
  bool expects_continue_ = false;
  bool has_forwarding_headers_ = false;
};

}  // namespace green::http
