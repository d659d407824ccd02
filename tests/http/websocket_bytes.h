// A WebSocket client's bytes, made without the code under test: its frames, and what a server sent
// it. No thread affinity.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace green::http::testing {

inline constexpr std::string_view sample_mask("\x37\xfa\x21\x3d", 4);

struct FrameOptions {
  bool fin = true;
  unsigned reserved = 0;
  bool is_masked = true;
  /// 0: the shortest form; else the bytes of the extended length, 2 or 8.
  int length_bytes = 0;
};

inline std::string client_frame(unsigned opcode, std::string_view payload,
                                FrameOptions options = {}) {
  std::string frame(1,
                    static_cast<char>((options.fin ? 0x80U : 0U) | options.reserved << 4 | opcode));
  int extended = options.length_bytes;
  if (extended == 0 && payload.size() > 125) extended = payload.size() > 0xffff ? 8 : 2;
  const unsigned seven_bits =
      extended == 0 ? static_cast<unsigned>(payload.size()) : (extended == 2 ? 126 : 127);
  frame += static_cast<char>((options.is_masked ? 0x80U : 0U) | seven_bits);
  for (int i = extended - 1; i >= 0; --i) {
    frame += static_cast<char>(std::uint64_t{payload.size()} >> (8 * i) & 0xff);
  }
  if (!options.is_masked) return frame.append(payload);
  frame += sample_mask;
  for (std::size_t i = 0; i < payload.size(); ++i) {
    frame += static_cast<char>(payload[i] ^ sample_mask[i % 4]);
  }
  return frame;
}

inline std::string close_payload(int code, std::string_view reason = {}) {
  std::string payload;
  payload += static_cast<char>(code >> 8);
  payload += static_cast<char>(code & 0xff);
  return payload.append(reason);
}

struct ServerFrame {
  unsigned first = 0;  ///< FIN, reserved bits and opcode
  std::string payload;
  bool operator==(const ServerFrame&) const = default;
};

/// The whole frames that the text begins with, taken off it.
inline std::vector<ServerFrame> take_server_frames(std::string& text) {
  std::vector<ServerFrame> frames;
  for (;;) {
    const auto byte = [&text](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    if (text.size() < 2) return frames;
    std::size_t head = 2;
    std::uint64_t size = byte(1);
    if (size >= 126) {
      const std::size_t extended = size == 126 ? 2 : 8;
      head += extended;
      if (text.size() < head) return frames;
      size = 0;
      for (std::size_t i = 0; i < extended; ++i) size = size << 8 | byte(2 + i);
    }
    if (text.size() < head + size) return frames;
    frames.push_back({byte(0), text.substr(head, size)});
    text.erase(0, head + size);
  }
}

}  // namespace green::http::testing
