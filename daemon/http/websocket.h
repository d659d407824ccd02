// A WebSocket (RFC 6455) as an application sees it: whole messages both ways, and how it closes.
// Loop thread of a worker. No Python here.
#pragma once

#include <cstdint>
#include <string_view>

#include "common/result.h"

namespace green::http {

enum class MessageKind { text, binary };

/// Close codes that green says by itself, or that never travel (RFC 6455, 7.4.1; IANA's registry).
enum CloseCode : std::uint16_t {
  close_normal = 1000,
  close_protocol_error = 1002,
  close_no_status = 1005,  ///< the client's Close had no code
  close_abnormal = 1006,   ///< the connection was lost without a Close
  close_bad_data = 1007,   ///< text that is not UTF-8, or no deflate stream
  close_too_big = 1009,
  close_failed = 1011,   ///< the application failed
  close_restart = 1012,  ///< the worker is going away
};

/// Whether an endpoint may send it: 1000 to 1014 but for those that never travel, 3000 to 4999.
bool is_close_code(int code);

/// The application's ear. It is told on the loop thread, and may call the WebSocket from within.
class WebSocketReceiver {
 public:
  /// A whole message, of at most websocket_max_message_size bytes; text is UTF-8. The view ends
  /// with the call.
  virtual void message(MessageKind kind, std::string_view data) = 0;
  /// Nothing more comes and nothing more is sent: the client closed (its code, or 1005), broke the
  /// protocol (what it was told: 1002, 1007, 1009), is gone (1006), answered our close(), or the
  /// worker goes away (1012). Once; not after finish().
  virtual void closed(int code, std::string_view reason) = 0;
  /// The client took some of what was unsent().
  virtual void taken() = 0;

 protected:
  ~WebSocketReceiver() = default;
};

/// An accepted WebSocket. The connection owns it. It lives until finish(), which an application
/// has to call, whatever became of the client. Pings are answered, and sent, without its doing.
class WebSocket {
 public:
  /// Sends a message, whole; what the socket does not take is kept. Text has to be UTF-8. Errors:
  /// closing, or the client is gone (ErrorCode::unavailable).
  virtual Result<void> send(MessageKind kind, std::string_view data) = 0;
  /// Bytes that are kept here, for the client to take.
  virtual std::uint64_t unsent() const = 0;
  /// Holds messages back, and then the client: nothing is read until resume(). message() is not
  /// called from within pause() or once it returned.
  virtual void pause() = 0;
  /// Messages that wait are told on the loop's next turn.
  virtual void resume() = 0;
  /// Sends Close; messages that still come are dropped, and closed() tells when the client has
  /// answered or had its time. Errors (ErrorCode::application): a code that may not be sent, a
  /// reason of more than 123 bytes. Where it is closed already: nothing.
  virtual Result<void> close(int code, std::string_view reason) = 0;
  virtual bool is_open() const = 0;
  /// The application is done with it: it is closed with `code` if it is still open. Invalid then.
  virtual void finish(int code) = 0;

 protected:
  ~WebSocket() = default;
};

}  // namespace green::http
