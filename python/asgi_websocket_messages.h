// The scope and the messages of ASGI's WebSocket part. Loop thread, with the GIL.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "daemon/http/websocket.h"
#include "daemon/http/websocket_handshake.h"
#include "python/asgi_messages.h"
#include "python/py_ref.h"

namespace green::python {

enum class AsgiWebSocketSend { accept, send, close, deny, deny_body };

class AsgiWebSocketMessages {
 public:
  /// Throws pybind11::error_already_set.
  AsgiWebSocketMessages();

  /// Makes an HTTP request's scope one of a WebSocket. False with an exception set.
  bool make_scope(PyObject* scope, const http::WebSocketOffer& offer) const;

  // What the application sends. Without a value, or false: an exception is set.
  std::optional<AsgiWebSocketSend> kind_of(PyObject* message) const;
  /// `subprotocol` is empty without one. Views of the message.
  bool read_accept(PyObject* message, std::string_view& subprotocol, MessageHeaders& headers);
  bool read_send(PyObject* message, http::MessageKind& kind, std::string_view& text,
                 MessageBytes& bytes) const;
  bool read_close(PyObject* message, int& code, std::string_view& reason) const;
  AsgiMessages& http() { return http_; }

  // What it receives; empty with an exception set.
  PyRef connect() const;
  PyRef receive(http::MessageKind kind, std::string_view data) const;
  PyRef disconnect(int code, std::string_view reason) const;

 private:
  AsgiMessages http_;  ///< a refusal's messages have their form
  PyRef type_, text_, bytes_, code_, reason_, subprotocol_;
  PyRef connect_type_, receive_type_, disconnect_type_;
  PyRef extensions_;
};

}  // namespace green::python
