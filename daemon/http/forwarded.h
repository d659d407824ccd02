// Where a request really comes from and what it was addressed to, as proxies say it: X-Forwarded-*
// and Forwarded (RFC 7239), read from right to left for as long as the hops are trusted. No thread
// affinity.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "daemon/http/application.h"
#include "daemon/http/trusted_peers.h"

namespace green::http {

/// Forwarded and every X-Forwarded-* header.
bool is_forwarding_header(std::string_view name);

/// From a peer that is not believed, the headers are removed. Otherwise the client's address, the
/// scheme, the host and the port that the outermost trusted hop names go into `request` (Host among
/// the headers) and `endpoints`, which begins as the connection's. What is malformed or absent
/// changes nothing. X-Forwarded-For, -Proto, -Host and -Port win over Forwarded, which is then
/// removed: a proxy that writes the former lets a client's own Forwarded pass.
///
/// `headers` are the request's; what `request` and `endpoints` get are views and copies of them.
void apply_forwarded(const TrustedPeers& trusted, bool peer_is_believed,
                     std::vector<Header>& headers, Request& request, Endpoints& endpoints);

}  // namespace green::http
