// WebSocket frames (RFC 6455, 5.2): bytes to pieces of frames, and frames' heads. What a sequence
// of frames means is websocket_codec.h's. Loop thread.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace green::http {

enum class Opcode : std::uint8_t {
  continuation = 0,
  text = 1,
  binary = 2,
  close = 8,
  ping = 9,
  pong = 10,
};

struct FrameHead {
  bool fin = false;
  std::uint8_t reserved = 0;  ///< RSV1 to RSV3, as three bits
  std::uint8_t opcode = 0;    ///< maybe none of Opcode's
  bool is_masked = false;
  std::uint64_t size = 0;  ///< of the payload

  bool is_control() const { return (opcode & 8) != 0; }
};

inline constexpr std::uint8_t reserved_compressed = 4;  ///< RSV1 (RFC 7692, 6)
inline constexpr std::size_t longest_control = 125;

class FrameReader {
 public:
  enum class Status {
    need_more,
    head,       ///< head() is new
    payload,    ///< some of the payload
    malformed,  ///< the length is not in its shortest form, or of more than 63 bits
  };

  /// Takes bytes off the input. Every frame has a head; then its payload, if it is not empty, is
  /// appended to `payload`, unmasked, in as many steps as it comes.
  Status next(std::string_view& input, std::string& payload);
  const FrameHead& head() const { return head_; }
  /// The whole frame was read.
  bool at_end() const { return !in_frame_; }

 private:
  Status read_head();
  std::size_t head_size() const;

  FrameHead head_;
  std::array<unsigned char, 14> bytes_{};  ///< of the head
  std::uint8_t bytes_count_ = 0;
  bool in_frame_ = false;
  std::array<unsigned char, 4> mask_{};
  std::uint64_t taken_ = 0;  ///< of the payload
};

/// The head of an unmasked, unfragmented frame.
void append_frame_head(std::string& text, Opcode opcode, std::uint8_t reserved, std::uint64_t size);

}  // namespace green::http
