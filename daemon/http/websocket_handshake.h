// The WebSocket handshake (RFC 6455, 4.2): which requests ask for one, what they offer, and the
// reply that accepts. Loop thread.
#pragma once

#include <expected>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"
#include "daemon/http/application.h"
#include "daemon/http/request_head.h"
#include "daemon/http/websocket_deflate.h"

namespace green::http {

/// What a valid handshake offers. Views are of the request.
struct WebSocketOffer {
  std::string_view key;
  std::vector<std::string_view> subprotocols;  ///< in the client's order of preference
  std::optional<DeflateAgreement> deflate;     ///< the first of its offers that can be met
};

/// Whether the request wants to become a WebSocket: Upgrade names it, and Connection upgrade.
/// Anything else is a plain request.
bool asks_for_websocket(const Request& request);

/// Or why it is refused: 400, or 426 for another version than 13.
std::expected<WebSocketOffer, Rejection> read_websocket_offer(const Request& request);
inline constexpr Header websocket_version{"Sec-WebSocket-Version", "13"};
/// Answers with that.
void refuse_websocket(Exchange& exchange, const Rejection& rejection);

/// Sec-WebSocket-Accept for a Sec-WebSocket-Key.
std::string websocket_accept(std::string_view key);

/// The whole head of a 101. `subprotocol` is empty or one of those offered; `headers` are the
/// application's: those of the handshake itself and of framing may not be among them. Errors:
/// ErrorCode::application.
Result<std::string> make_websocket_reply(const WebSocketOffer& offer, std::string_view subprotocol,
                                         std::span<const Header> headers);

}  // namespace green::http
