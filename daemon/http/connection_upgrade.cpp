// Connection: how it becomes a WebSocket. Loop thread.
#include "daemon/http/connection.h"
#include "daemon/http/websocket_session.h"

namespace green::http {

Result<WebSocket*> Connection::become_websocket(std::string_view head,
                                                std::optional<DeflateAgreement> deflate,
                                                WebSocketReceiver& receiver) {
  if (auto sent = send({.before = head, .data = {}, .after = {}}); !sent) {
    return fail(std::move(sent.error()));
  }
  if (is_unlogged_) log_access(101);
  const Request& request = exchange_->request();
  upgraded_ = std::make_unique<UpgradedConnection>(
      *this, std::move(exchange_->output()),
      UpgradeOrigin{.path = std::string(request.path.substr(0, longest_listed_path)),
                    .client = request.endpoints->remote_address});
  auto session = std::make_unique<WebSocketSession>(
      *upgraded_, receiver, context_.limits.websocket_message_bytes, context_.codec_tools, deflate);
  WebSocketSession* const websocket = session.get();
  upgraded_->set_protocol(std::move(session));
  state_ = ConnectionState::upgraded;
  upgraded_->wait_for(UpgradedWait::traffic);
  return websocket;
}

}  // namespace green::http
