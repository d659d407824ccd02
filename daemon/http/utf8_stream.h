// UTF-8 that comes in pieces, validated as it comes. No thread affinity.
#pragma once

#include <array>
#include <cstddef>
#include <string_view>

namespace green::http {

/// Of a whole text.
bool is_utf8(std::string_view text);

class Utf8Stream {
 public:
  /// False: no text begins like this. Not to be fed after that.
  bool feed(std::string_view piece);
  /// Whether the text may end here.
  bool is_complete() const { return begun_size_ == 0; }
  void clear() { begun_size_ = 0; }

 private:
  bool begins_character() const;

  std::array<char, 4> begun_{};  ///< a character whose last bytes are to come
  std::size_t begun_size_ = 0;
};

}  // namespace green::http
