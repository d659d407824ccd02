#include "daemon/http/application.h"

namespace green::http {

/// To nobody's network.
Result<void> Exchange::add_trailers(std::span<const Header>) { return {}; }

Result<WebSocket*> Exchange::accept_websocket(std::string_view, std::span<const Header>,
                                              WebSocketReceiver&) {
  return fail(ErrorCode::application, "nothing but a client's connection can become a WebSocket");
}

}  // namespace green::http
