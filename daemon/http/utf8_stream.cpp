#include "daemon/http/utf8_stream.h"

#include <simdjson.h>

#include <algorithm>

namespace green::http {
namespace {

bool is_continuation(char c) { return (static_cast<unsigned char>(c) & 0xc0U) == 0x80U; }

/// Bytes of the character that begins with `c`; 1 for what begins none.
std::size_t character_size(char c) {
  const auto byte = static_cast<unsigned char>(c);
  if (byte < 0xc2 || byte > 0xf4) return 1;
  if (byte < 0xe0) return 2;
  return byte < 0xf0 ? 3 : 4;
}

/// Where a character begins whose end is missing; the text's size without one.
std::size_t begin_of_last(std::string_view text) {
  const std::size_t most = std::min<std::size_t>(text.size(), 3);
  for (std::size_t back = 1; back <= most; ++back) {
    const char c = text[text.size() - back];
    if (is_continuation(c)) continue;
    return character_size(c) > back ? text.size() - back : text.size();
  }
  return text.size();
}

}  // namespace

bool is_utf8(std::string_view text) { return simdjson::validate_utf8(text.data(), text.size()); }

bool Utf8Stream::feed(std::string_view piece) {
  if (begun_size_ > 0) {
    const std::size_t size = character_size(begun_[0]);
    const auto rest = piece.substr(0, size - begun_size_);
    std::ranges::copy(rest, begun_.begin() + begun_size_);
    begun_size_ += rest.size();
    piece.remove_prefix(rest.size());
    if (begun_size_ < size) return begins_character();
    if (!is_utf8({begun_.data(), size})) return false;
    begun_size_ = 0;
  }
  const auto whole = begin_of_last(piece);
  if (!is_utf8(piece.substr(0, whole))) return false;
  begun_size_ = piece.size() - whole;
  std::ranges::copy(piece.substr(whole), begun_.begin());
  return begun_size_ == 0 || begins_character();
}

/// Whether what has begun can become a character: filled up with the lowest or the highest bytes
/// that may follow it, it is one.
bool Utf8Stream::begins_character() const {
  const std::size_t size = character_size(begun_[0]);
  for (const char filler : {'\x80', '\xbf'}) {
    auto filled = begun_;
    std::fill(filled.begin() + begun_size_, filled.end(), filler);
    if (is_utf8({filled.data(), size})) return true;
  }
  return false;
}

}  // namespace green::http
