// What one client may take of a worker, and whose word about clients is taken: safe defaults.
// No thread affinity.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>

#include "common/result.h"
#include "common/settings.h"
#include "daemon/http/request_id.h"
#include "daemon/http/trusted_peers.h"

namespace green::http {

/// What becomes of header names with an underscore, which an environ cannot tell from those with a
/// hyphen: a way past a proxy that sets the latter.
enum class HeaderMap { drop, refuse };

struct Limits {
  std::size_t request_line = 8190;    ///< bytes of method, target and version; more: 414
  std::size_t header_count = 100;     ///< more: 431
  std::size_t field_bytes = 8190;     ///< of one header, name and value; more: 431
  std::size_t head_bytes = 32 << 10;  ///< request line and headers; more: 431. Trailers: the same
  std::uint64_t body_bytes = 1ULL << 30;     ///< more: 413; 0: any size
  std::size_t body_memory = 64 << 10;        ///< a longer body goes to an unlinked file
  std::size_t output_memory = 256 << 10;     ///< unsent reply; more goes to an unlinked file
  std::string spool_directory = "/var/tmp";  ///< where those files are made
  std::size_t connections = 16384;           ///< accepted ones at a time; the next wait

  std::chrono::microseconds head_time = std::chrono::seconds(10);    ///< for a whole head; then 408
  std::chrono::microseconds body_idle = std::chrono::seconds(30);    ///< between bytes; then 408
  std::chrono::microseconds write_stall = std::chrono::seconds(60);  ///< nothing taken: cut
  std::chrono::microseconds keepalive = std::chrono::seconds(5);     ///< idle; 0: no keep-alive
  std::chrono::microseconds linger = std::chrono::seconds(2);        ///< after our last byte
  /// Idle connections of a draining server live on as ever until this long after the drain began;
  /// from then on they are closed, one after the other, the last of them at `drain_latest`.
  std::chrono::microseconds drain_late = std::chrono::seconds(15);
  std::chrono::microseconds drain_latest = std::chrono::seconds(24);
  std::size_t websocket_message_bytes = 16 << 20;  ///< more, inflated: the WebSocket is closed
  /// Silence before a client is pinged, and time it has to answer; 0: for ever.
  std::chrono::microseconds websocket_ping_interval = std::chrono::seconds(20);
  std::chrono::microseconds websocket_ping_timeout = std::chrono::seconds(20);
  bool websocket_compression = true;  ///< permessage-deflate, where the client offers it

  int accepts_per_turn = 8;    ///< of one listener
  int requests_per_turn = 16;  ///< pipelined ones of one connection

  HeaderMap header_map = HeaderMap::drop;
  TrustedPeers trusted_peers;   ///< whose X-Forwarded-*, Forwarded and PROXY headers are believed
  bool proxy_protocol = false;  ///< trusted peers begin each connection with a PROXY header
  RequestIdUse request_id = RequestIdUse::nobody;
  bool keeps_reply_head = false;  ///< for the access log
};

/// As the operator set them.
Result<Limits> make_limits(const Settings& settings);

}  // namespace green::http
