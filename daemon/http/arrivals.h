// What the clients of several connections sent, read from all of them before the first is answered:
// the kernel's code and ours then drive each other out of the processor's caches once a turn, and
// not once a request. Loop thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace green::http {

class Arrivals {
 public:
  struct Read {
    std::string_view bytes;  ///< until the next turn
    bool is_all = false;     ///< the socket had no more
  };

  /// In the reactor's `turn`. Empty where nothing came, there is no room, or the socket failed:
  /// whoever reads next finds out.
  Read read(int socket, std::uint64_t turn);

 private:
  static constexpr std::size_t most_of_one = 4 << 10;
  static constexpr std::size_t least_room = 512;

  std::uint64_t turn_ = 0;
  std::size_t used_ = 0;
  std::array<char, 32 << 10> bytes_;
};

}  // namespace green::http
