#include "daemon/http/websocket_frames.h"

#include <algorithm>
#include <cstring>

namespace green::http {
namespace {

constexpr std::size_t word = sizeof(std::uint64_t);

/// Bytes of the length behind the first two, by its seven bits.
std::size_t extended_length_size(unsigned seven_bits) {
  if (seven_bits < 126) return 0;
  return seven_bits == 126 ? 2 : 8;
}

/// Appends `data`, whose first byte is masked by mask[0], in words where it can.
void append_unmasked(std::string& text, std::string_view data,
                     const std::array<unsigned char, 4>& mask) {
  const auto begin = text.size();
  text.append(data);
  char* bytes = text.data() + begin;
  std::uint32_t half = 0;
  std::memcpy(&half, mask.data(), sizeof half);
  const std::uint64_t whole = std::uint64_t{half} << 32 | half;
  std::size_t i = 0;
  for (; i + word <= data.size(); i += word) {
    std::uint64_t eight = 0;
    std::memcpy(&eight, bytes + i, word);
    eight ^= whole;
    std::memcpy(bytes + i, &eight, word);
  }
  for (; i < data.size(); ++i) {
    bytes[i] = static_cast<char>(static_cast<unsigned char>(bytes[i]) ^ mask[i % 4]);
  }
}

}  // namespace

std::size_t FrameReader::head_size() const {
  if (bytes_count_ < 2) return 2;
  return 2 + extended_length_size(bytes_[1] & 0x7fU) + ((bytes_[1] & 0x80U) != 0 ? 4 : 0);
}

FrameReader::Status FrameReader::read_head() {
  const unsigned seven_bits = bytes_[1] & 0x7fU;
  const std::size_t extended = extended_length_size(seven_bits);
  head_ = {.fin = (bytes_[0] & 0x80U) != 0,
           .reserved = static_cast<std::uint8_t>(bytes_[0] >> 4 & 7U),
           .opcode = static_cast<std::uint8_t>(bytes_[0] & 0x0fU),
           .is_masked = (bytes_[1] & 0x80U) != 0,
           .size = extended == 0 ? seven_bits : 0};
  for (std::size_t i = 0; i < extended; ++i) head_.size = head_.size << 8 | bytes_[2 + i];
  if (head_.is_masked) std::copy_n(bytes_.begin() + 2 + extended, 4, mask_.begin());
  if (extended == 2 && head_.size < 126) return Status::malformed;
  if (extended == 8 && (head_.size <= 0xffff || head_.size >> 63 != 0)) return Status::malformed;
  bytes_count_ = 0;
  taken_ = 0;
  in_frame_ = head_.size > 0;
  return Status::head;
}

FrameReader::Status FrameReader::next(std::string_view& input, std::string& payload) {
  if (in_frame_) {
    const auto part = input.substr(
        0, static_cast<std::size_t>(std::min<std::uint64_t>(input.size(), head_.size - taken_)));
    if (part.empty()) return Status::need_more;
    input.remove_prefix(part.size());
    if (head_.is_masked) {
      auto mask = mask_;
      std::ranges::rotate(mask, mask.begin() + taken_ % 4);
      append_unmasked(payload, part, mask);
    } else {
      payload.append(part);
    }
    taken_ += part.size();
    in_frame_ = taken_ < head_.size;
    return Status::payload;
  }
  // First the two bytes that say how long the head is.
  for (auto size = head_size(); bytes_count_ < size; size = head_size()) {
    const auto part = input.substr(0, size - bytes_count_);
    if (part.empty()) return Status::need_more;
    std::ranges::copy(part, bytes_.begin() + bytes_count_);
    bytes_count_ = static_cast<std::uint8_t>(bytes_count_ + part.size());
    input.remove_prefix(part.size());
  }
  return read_head();
}

void append_frame_head(std::string& text, Opcode opcode, std::uint8_t reserved,
                       std::uint64_t size) {
  text.push_back(static_cast<char>(0x80U | static_cast<unsigned>(reserved) << 4 |
                                   static_cast<unsigned>(opcode)));
  const int extended = size < 126 ? 0 : size <= 0xffff ? 2 : 8;
  text.push_back(static_cast<char>(extended == 0 ? size : extended == 2 ? 126 : 127));
  for (int i = extended - 1; i >= 0; --i) text.push_back(static_cast<char>(size >> (8 * i) & 0xff));
}

}  // namespace green::http
