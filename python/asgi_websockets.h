// The WebSockets of an ASGI application. Loop thread, with the GIL.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <vector>

#include "daemon/http/application.h"
#include "daemon/http/websocket_handshake.h"
#include "python/asgi_websocket.h"
#include "python/asgi_websocket_messages.h"
#include "python/py_ref.h"

namespace green::python {

/// Those that are open or being asked for.
class AsgiWebSockets {
 public:
  /// `context` outlives it; `on_end`: one of them has ended. Throws pybind11::error_already_set.
  AsgiWebSockets(AsgiContext& context, std::function<void()> on_end);

  /// Answers a request that asks_for_websocket(). `scope`: as of an HTTP request.
  void open(http::Exchange& exchange, PyRef scope);
  std::size_t count() const { return sockets_.size(); }
  void give_up();

 private:
  void ended(AsgiWebSocket& socket);

  AsgiContext& context_;
  AsgiWebSocketMessages messages_;
  std::function<void()> on_end_;
  std::vector<std::unique_ptr<AsgiWebSocket>> sockets_;
  AsgiWebSocket* opening_ = nullptr;  ///< whose open() is under way
  /// Until its open() returns.
  std::unique_ptr<AsgiWebSocket> ended_at_once_;
};

}  // namespace green::python
