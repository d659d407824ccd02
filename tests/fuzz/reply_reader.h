// Reads a server's replies as a client would (RFC 9112, 6.3), and finds where they are none: what a
// header or a body could smuggle into them. No thread affinity.
#pragma once

#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>

#include "daemon/http/ascii.h"

namespace green::http {

class ReplyReader {
 public:
  explicit ReplyReader(std::string_view bytes) : bytes_(bytes) {}
  std::size_t left() const { return bytes_.size(); }
  /// What take() has taken, without invitations to send on (100): when these come may differ.
  const std::string& taken() const { return taken_; }

  /// Whether a whole final reply was there; false where the bytes end in its middle. Aborts where
  /// they are no reply at all.
  bool take(bool to_head) {
    for (;;) {
      const auto before = bytes_;
      const auto head = take_head();
      const bool is_final = head && head->status >= 200;
      const bool is_whole = is_final && take_body(*head, to_head);
      if (!head || head->status != 100) taken_ += before.substr(0, before.size() - bytes_.size());
      if (!head || is_final) return is_whole;
    }
  }

 private:
  struct Head {
    int status = 0;
    bool is_chunked = false;
    std::optional<std::size_t> length;
  };

  std::optional<std::string_view> take_line() {
    const auto end = bytes_.find("\r\n");
    if (end == std::string_view::npos) return std::nullopt;
    const auto line = bytes_.substr(0, end);
    if (line.find_first_of(std::string_view("\r\n\0", 3)) != std::string_view::npos) std::abort();
    bytes_.remove_prefix(end + 2);
    return line;
  }

  static std::size_t number(std::string_view digits, int base) {
    std::size_t value = 0;
    const auto end = digits.data() + digits.size();
    const auto [stop, error] = std::from_chars(digits.data(), end, value, base);
    if (error != std::errc{} || stop != end) std::abort();
    return value;
  }

  std::optional<Head> take_head() {
    const auto status_line = take_line();
    if (!status_line) return std::nullopt;
    if (!status_line->starts_with("HTTP/1.1 ") || status_line->size() < 13) std::abort();
    Head head;
    head.status = static_cast<int>(number(status_line->substr(9, 3), 10));
    for (;;) {
      const auto line = take_line();
      if (!line) return std::nullopt;
      if (line->empty()) return head;
      const auto colon = line->find(':');
      if (colon == std::string_view::npos || !is_token(line->substr(0, colon))) std::abort();
      const auto name = line->substr(0, colon);
      if (equals_ignoring_case(name, "content-length")) {
        if (head.length) std::abort();
        head.length = number(trim_whitespace(line->substr(colon + 1)), 10);
      } else if (equals_ignoring_case(name, "transfer-encoding")) {
        if (head.is_chunked) std::abort();
        head.is_chunked = true;
      }
    }
  }

  bool take_bytes(std::size_t size) {
    const bool is_whole = bytes_.size() >= size;
    bytes_.remove_prefix(is_whole ? size : bytes_.size());
    return is_whole;
  }

  bool take_chunks() {
    for (;;) {
      const auto line = take_line();
      if (!line) return false;
      const auto size = number(*line, 16);
      if (!take_bytes(size)) return false;
      const auto end = take_line();
      if (!end) return false;
      if (!end->empty()) std::abort();
      if (size == 0) return true;
    }
  }

  bool take_body(const Head& head, bool to_head) {
    if (head.is_chunked && head.length) std::abort();
    if (to_head || head.status == 204 || head.status == 304) return true;
    if (head.is_chunked) return take_chunks();
    if (head.length) return take_bytes(*head.length);
    bytes_ = {};  // until the close
    return true;
  }

  std::string_view bytes_;
  std::string taken_;
};

}  // namespace green::http
