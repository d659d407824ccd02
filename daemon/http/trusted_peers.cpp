#include "daemon/http/trusted_peers.h"

#include <algorithm>

namespace green::http {

Result<TrustedPeers> TrustedPeers::create(std::span<const std::string> names) {
  TrustedPeers peers;
  for (const std::string& name : names) {
    if (name == "*") {
      peers.everybody_ = true;
    } else if (name == "unix:") {
      peers.unix_ = true;
    } else {
      auto network = parse_ip_network(name);
      if (!network) return fail(std::move(network.error()));
      peers.networks_.push_back(*network);
    }
  }
  return peers;
}

bool TrustedPeers::trusts(const IpAddress& address) const {
  return everybody_ || std::ranges::any_of(networks_, [&address](const IpNetwork& network) {
           return network.contains(address);
         });
}

bool TrustedPeers::trusts_peer(std::string_view remote_address) const {
  if (everybody_) return true;
  if (remote_address.empty()) return unix_;
  const auto address = parse_ip_address(remote_address);
  return address && trusts(*address);
}

}  // namespace green::http
