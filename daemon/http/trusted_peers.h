// Who is a proxy of ours: the peers whose word about a client is taken. No thread affinity.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/ip_network.h"
#include "common/result.h"

namespace green::http {

class TrustedPeers {
 public:
  /// Nobody.
  TrustedPeers() = default;
  /// Addresses, networks, "unix:" (peers on unix sockets), "*" (everybody).
  static Result<TrustedPeers> create(std::span<const std::string> names);

  bool trusts(const IpAddress& address) const;
  /// A connection's other end as Endpoints has it: empty for a unix socket's.
  bool trusts_peer(std::string_view remote_address) const;

 private:
  std::vector<IpNetwork> networks_;
  bool unix_ = false;
  bool everybody_ = false;
};

}  // namespace green::http
