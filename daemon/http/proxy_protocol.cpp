#include "daemon/http/proxy_protocol.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <optional>

#include "common/ip_network.h"

namespace green::http {
namespace {

using Status = ProxyHeaderRead::Status;
using Origin = ProxyHeader::Origin;

constexpr std::string_view signature_1 = "PROXY ";
constexpr std::size_t longest_line = 107;
constexpr std::string_view signature_2("\r\n\r\n\0\r\nQUIT\n", 12);
constexpr std::size_t fixed_part = 16;

ProxyHeaderRead malformed() { return {.status = Status::malformed}; }

std::uint8_t byte_at(std::string_view bytes, std::size_t index) {
  return static_cast<std::uint8_t>(bytes[index]);
}
std::size_t number_at(std::string_view bytes, std::size_t index) {
  return static_cast<std::size_t>(byte_at(bytes, index)) << 8 | byte_at(bytes, index + 1);
}

/// One space between words, as the protocol asks; an empty word is an error.
std::optional<std::string_view> next_word(std::string_view& line) {
  const auto space = line.find(' ');
  const auto word = line.substr(0, space);
  if (word.empty()) return std::nullopt;
  line = space == std::string_view::npos ? std::string_view{} : line.substr(space + 1);
  return word;
}

bool is_port(std::string_view text) {
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  const bool has_zero_in_front = text.size() > 1 && text.front() == '0';
  return error == std::errc{} && end == text.data() + text.size() && !has_zero_in_front;
}

/// The address in its one spelling; IPv4-mapped addresses of a TCP6 line become IPv4.
std::optional<std::string> read_address(std::string_view text, bool is_v4) {
  const bool looks_v4 = text.find(':') == std::string_view::npos;
  const auto address = parse_ip_address(text);
  if (!address || looks_v4 != is_v4) return std::nullopt;
  return to_text(*address);
}

std::optional<ProxyHeader> parse_line(std::string_view line) {
  const auto family = next_word(line);
  if (!family) return std::nullopt;
  if (*family == "UNKNOWN") return ProxyHeader{};
  if (*family != "TCP4" && *family != "TCP6") return std::nullopt;
  if (line.ends_with(' ')) return std::nullopt;
  std::optional<std::string_view> words[4];
  for (auto& word : words) {
    word = next_word(line);
    if (!word) return std::nullopt;
  }
  const bool is_v4 = *family == "TCP4";
  const auto source = read_address(*words[0], is_v4);
  const auto destination = read_address(*words[1], is_v4);
  if (!source || !destination || !is_port(*words[2]) || !is_port(*words[3]) || !line.empty()) {
    return std::nullopt;
  }
  return ProxyHeader{.origin = Origin::address,
                     .source_address = *source,
                     .source_port = std::string(*words[2]),
                     .destination_address = *destination,
                     .destination_port = std::string(*words[3])};
}

ProxyHeaderRead read_version_1(std::string_view bytes) {
  const auto part = bytes.substr(0, longest_line);
  const auto end = part.find("\r\n");
  if (end == std::string_view::npos) {
    return part.size() == longest_line ? malformed() : ProxyHeaderRead{};
  }
  auto header = parse_line(part.substr(signature_1.size(), end - signature_1.size()));
  if (!header) return malformed();
  return {.status = Status::complete, .consumed = end + 2, .header = std::move(*header)};
}

std::string binary_address(std::string_view bytes, bool is_v4) {
  IpAddress address{.is_v4 = is_v4};
  std::ranges::copy(bytes, address.bytes.begin());
  // Through its text, so that an IPv4-mapped one becomes IPv4.
  const auto text = to_text(address);
  const auto parsed = parse_ip_address(text);
  return parsed ? to_text(*parsed) : text;
}

ProxyHeader parse_addresses(std::string_view bytes, bool is_v4) {
  const std::size_t size = is_v4 ? 4 : 16;
  return {.origin = Origin::address,
          .source_address = binary_address(bytes.substr(0, size), is_v4),
          .source_port = std::to_string(number_at(bytes, 2 * size)),
          .destination_address = binary_address(bytes.substr(size, size), is_v4),
          .destination_port = std::to_string(number_at(bytes, 2 * size + 2))};
}

ProxyHeaderRead read_version_2(std::string_view bytes) {
  if (bytes.size() < fixed_part) return {};
  const auto version_and_command = byte_at(bytes, 12);
  const auto family_and_transport = byte_at(bytes, 13);
  const auto length = number_at(bytes, 14);
  if (version_and_command >> 4 != 2 || (version_and_command & 0xf) > 1) return malformed();
  if (fixed_part + length > longest_proxy_header) return malformed();
  if (bytes.size() < fixed_part + length) return {};
  const auto payload = bytes.substr(fixed_part, length);
  ProxyHeaderRead read{.status = Status::complete, .consumed = fixed_part + length};
  if ((version_and_command & 0xf) == 0) {
    read.header.origin = Origin::proxy;
    return read;
  }
  switch (family_and_transport) {
    case 0x11:  // IPv4, stream
      if (payload.size() < 12) return malformed();
      read.header = parse_addresses(payload, true);
      return read;
    case 0x21:  // IPv6, stream
      if (payload.size() < 36) return malformed();
      read.header = parse_addresses(payload, false);
      return read;
    case 0x00:  // unspecified
    case 0x31:  // unix, stream
      return read;
    default:
      return malformed();
  }
}

}  // namespace

ProxyHeaderRead read_proxy_header(std::string_view bytes) {
  bytes = bytes.substr(0, longest_proxy_header);
  for (const auto signature : {signature_1, signature_2}) {
    const auto known = std::min(bytes.size(), signature.size());
    if (bytes.substr(0, known) != signature.substr(0, known)) continue;
    if (known < signature.size()) return {};
    return signature == signature_1 ? read_version_1(bytes) : read_version_2(bytes);
  }
  return malformed();
}

}  // namespace green::http
