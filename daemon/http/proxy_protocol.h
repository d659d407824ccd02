// The PROXY protocol, versions 1 and 2: what a proxy says of a connection before its first byte.
// No thread affinity.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace green::http {

/// Longer than any header of version 1 (107 bytes), and enough for version 2 with extensions.
inline constexpr std::size_t longest_proxy_header = 4096;

struct ProxyHeader {
  enum class Origin {
    address,  ///< of the client, below
    proxy,    ///< the proxy itself (version 2, LOCAL): its health check
    unknown,  ///< a client the proxy does not name (UNKNOWN, UNSPEC, a unix socket of its own)
  };
  Origin origin = Origin::unknown;
  std::string source_address, source_port;
  std::string destination_address, destination_port;
};

struct ProxyHeaderRead {
  enum class Status { need_more, complete, malformed };
  Status status = Status::need_more;
  std::size_t consumed = 0;  ///< once complete: the header's bytes
  ProxyHeader header{};
};

/// `bytes` is a connection's beginning; at most longest_proxy_header of it are looked at.
ProxyHeaderRead read_proxy_header(std::string_view bytes);

}  // namespace green::http
