#include "common/ip_network.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <span>

#include "common/text.h"

namespace green {
namespace {

constexpr std::array<std::uint8_t, 12> v4_mapped{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

/// The address with all bits after `prefix` cleared.
IpAddress masked(IpAddress address, int prefix) {
  for (int bit = prefix; bit < 128; ++bit) {
    auto& byte = address.bytes[static_cast<std::size_t>(bit / 8)];
    byte = static_cast<std::uint8_t>(byte & ~(0x80U >> (bit % 8)));
  }
  return address;
}

}  // namespace

std::optional<IpAddress> parse_ip_address(std::string_view text) {
  std::array<char, INET6_ADDRSTRLEN> terminated{};
  if (text.size() >= terminated.size() || text.find('\0') != std::string_view::npos) {
    return std::nullopt;
  }
  text.copy(terminated.data(), text.size());
  IpAddress address;
  if (inet_pton(AF_INET, terminated.data(), address.bytes.data()) == 1) {
    address.is_v4 = true;
    return address;
  }
  address.bytes = {};
  if (inet_pton(AF_INET6, terminated.data(), address.bytes.data()) != 1) return std::nullopt;
  if (std::ranges::equal(v4_mapped, std::span(address.bytes).first(v4_mapped.size()))) {
    IpAddress v4{.is_v4 = true};
    std::ranges::copy(std::span(address.bytes).last(4), v4.bytes.begin());
    return v4;
  }
  return address;
}

std::string to_text(const IpAddress& address) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  inet_ntop(address.is_v4 ? AF_INET : AF_INET6, address.bytes.data(), text.data(), text.size());
  return text.data();
}

bool IpNetwork::contains(const IpAddress& other) const {
  return other.is_v4 == address.is_v4 && masked(other, prefix) == address;
}

Result<IpNetwork> parse_ip_network(std::string_view text) {
  const auto slash = text.find('/');
  const auto address = parse_ip_address(text.substr(0, slash));
  if (!address) {
    return fail(ErrorCode::configuration,
                fmt::format(R"("{}" is no IP address or network)", printable(text)));
  }
  const int longest = address->is_v4 ? 32 : 128;
  IpNetwork network{.address = *address, .prefix = longest};
  if (slash == std::string_view::npos) return network;
  const auto length = text.substr(slash + 1);
  const auto [end, error] =
      std::from_chars(length.data(), length.data() + length.size(), network.prefix);
  if (length.empty() || error != std::errc{} || end != length.data() + length.size() ||
      network.prefix < 0 || network.prefix > longest) {
    return fail(
        ErrorCode::configuration,
        fmt::format(R"("{}": the prefix must be between 0 and {})", printable(text), longest));
  }
  const auto base = masked(*address, network.prefix);
  if (base != *address) {
    return fail(ErrorCode::configuration,
                fmt::format(R"("{}" has bits set after its prefix: did you mean "{}/{}"?)",
                            printable(text), to_text(base), network.prefix));
  }
  return network;
}

}  // namespace green
