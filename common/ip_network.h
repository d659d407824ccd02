// IP addresses and networks in CIDR notation, as settings and headers name them. Any thread.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "common/result.h"

namespace green {

struct IpAddress {
  bool is_v4 = false;
  std::array<std::uint8_t, 16> bytes{};  ///< of IPv4 the first four
  bool operator==(const IpAddress&) const = default;
};

/// "192.0.2.1", "2001:db8::1", no zone. An IPv4-mapped IPv6 address is the IPv4 address.
std::optional<IpAddress> parse_ip_address(std::string_view text);
/// The one spelling of it (RFC 5952).
std::string to_text(const IpAddress& address);

struct IpNetwork {
  IpAddress address;
  int prefix = 0;
  bool contains(const IpAddress& other) const;
};

/// "192.0.2.1", "10.0.0.0/8", "2001:db8::/32". The error is the bare reason.
Result<IpNetwork> parse_ip_network(std::string_view text);

}  // namespace green
