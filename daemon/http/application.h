// The seam between HTTP and whatever answers it (Python's WSGI, a probe, a test's fake).
// Loop thread of a worker. No Python here.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "common/fd.h"
#include "common/result.h"

namespace green::http {

class Body;
class WebSocket;
class WebSocketReceiver;

struct Header {
  std::string_view name;   ///< as received; compare case-insensitively (RFC 9110, 5.1)
  std::string_view value;  ///< without surrounding whitespace
};

/// Where a request comes from and arrived at: of its connection, made once, or as trusted proxies
/// say (forwarded.h).
struct Endpoints {
  std::string remote_address;  ///< "192.0.2.1", "2001:db8::1"; empty for a unix socket
  std::string remote_port;     ///< empty for a unix socket, or where a proxy did not say
  std::string local_address;   ///< for SERVER_NAME: an address, or a unix socket's path
  std::string local_port;      ///< empty for a unix socket
};

/// A request whose head is complete, and its body too, unless the application takes that as it
/// comes (Application::streams_bodies()). Views live as long as the exchange.
struct Request {
  std::string_view method;
  std::string_view target;           ///< request-target as received (RFC 9112, 3.2)
  std::string_view path;             ///< of the target, still percent-encoded; "*" for OPTIONS *
  std::string_view query;            ///< without '?'
  int version_minor = 1;             ///< of HTTP/1.x
  std::string_view scheme = "http";  ///< or "https", where a trusted proxy says so
  /// Host is an absolute-form target's (RFC 9112, 3.2.2) or the one a trusted proxy names. No name
  /// has an underscore; forwarding headers are from trusted proxies only.
  std::span<const Header> headers;
  bool chunked = false;  ///< the body comes in chunks: its length is body->size() alone
  /// X-Request-ID, where somebody wants it (request_id.h); with `environ`, among the headers too.
  std::string_view request_id;
  const Endpoints* endpoints = nullptr;
  Body* body = nullptr;  ///< never null
};

/// Bytes of a regular file, which nobody else reads or closes by this descriptor.
struct FilePart {
  Fd file;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
};

/// Who answers an exchange bit by bit, and wants to know what becomes of it meanwhile. Loop thread.
class ExchangeWatcher {
 public:
  /// The client took some of the reply, sent some of the body, shut its side, or went away: ask the
  /// exchange. It may not be finished or aborted from within.
  virtual void exchange_changed() = 0;

 protected:
  ~ExchangeWatcher() = default;
};

/// One request and its reply. The connection owns it; an application answers it by start(),
/// write()*, finish(), or gives up by abort(). Writing never blocks: what the socket does not take
/// is kept (in memory, then in a temporary file), so a slow client holds no application. It lives
/// until finish() or abort(), or until call() returns if that is later. Once it is finished,
/// further calls are errors or do nothing.
class Exchange {
 public:
  virtual const Request& request() const = 0;

  /// Status (200), reason ("OK", may be empty), headers in order. Framing (Content-Length or
  /// chunked), Date, Server and Connection are the server's: added where missing. Nothing is sent
  /// before the first write() or finish(). May be called again before anything was sent (PEP 3333,
  /// exc_info). Connection: close is honoured; Connection and its kin are otherwise dropped
  /// (hop-by-hop). Errors (ErrorCode::application): a status out of 200–999, CR, LF or NUL in a
  /// header, a bad name, Transfer-Encoding, a bad Content-Length. After one, nothing is started.
  virtual Result<void> start(int status, std::string_view reason,
                             std::span<const Header> headers) = 0;
  /// Before start(): whether the reply ends with trailer fields. It is chunked then, whatever
  /// length it declares; to HTTP/1.0, which knows none, they are left out.
  virtual void promise_trailers(bool promised) { static_cast<void>(promised); }
  /// Where they were promised: some of them, which go out with the reply's end. Errors
  /// (ErrorCode::application): a bad header, or one that has no place there (RFC 9110, 6.5.1).
  virtual Result<void> add_trailers(std::span<const Header> trailers);
  /// An interim response (103, early hints), sent at once; nothing is sent to HTTP/1.0. Errors: a
  /// status out of 102–199, a bad header, or the reply's head was sent (ErrorCode::application);
  /// the client is gone (ErrorCode::unavailable).
  virtual Result<void> send_interim(int status, std::span<const Header> headers) = 0;
  /// A part of the body, sent at once; an empty one sends the head alone. Errors: more than the
  /// declared Content-Length (what fits is sent) or no start() (ErrorCode::application); the client
  /// is gone (ErrorCode::unavailable).
  virtual Result<void> write(std::string_view data) = 0;
  /// The reply is complete with `rest`. Where nothing was sent and no length declared, the server
  /// knows it now and adds Content-Length. Less than the declared length cuts the connection.
  virtual void finish(std::string_view rest) = 0;
  void finish() { finish({}); }
  /// The same with a part of a file, which goes from there to the client as it takes it. Where the
  /// file turns out to be shorter, the connection is cut.
  virtual void finish_file(FilePart part) = 0;
  /// The application failed: 500 if nothing was sent yet, else the connection is cut.
  virtual void abort() = 0;
  /// The application has had its time. 504 if nothing was sent yet, else the connection is cut; to
  /// the application its client is gone from here on, and it has to finish() or abort() all the
  /// same: until then the request stays valid.
  virtual void give_up() = 0;
  /// The same where a signal's handler has sent the 504 (stuck_call.h).
  virtual void give_up_answered() = 0;
  /// Accepts a WebSocket's handshake (websocket_handshake.h): 101, with `subprotocol` where it is
  /// not empty. The exchange is finished then. Refusing is an ordinary reply. Errors: the request
  /// is no handshake, a bad header, one of the handshake's own, or a subprotocol that was not
  /// offered (ErrorCode::application: nothing was sent); the client is gone
  /// (ErrorCode::unavailable).
  virtual Result<WebSocket*> accept_websocket(std::string_view subprotocol,
                                              std::span<const Header> headers,
                                              WebSocketReceiver& receiver);
  virtual bool head_sent() const = 0;
  /// False once the client is known to be gone.
  virtual bool client_connected() const = 0;
  /// The client sends no more: most likely it is gone, but it may wait for its reply all the same.
  virtual bool input_ended() const { return !client_connected(); }
  /// All of the request's body is here. Until then it comes as the application takes it
  /// (Body::take()); a client that fails to send it as it has to is gone (client_connected()).
  virtual bool body_is_whole() const { return true; }
  /// The application has taken what there was, or waits for it: the client may send more.
  virtual void want_body() {}
  /// Bytes of the reply that are kept here, for the client to take.
  virtual std::uint64_t unsent() const { return 0; }
  /// Until it is finished or aborted; null: nobody. The watcher outlives that.
  virtual void watch(ExchangeWatcher* watcher) { static_cast<void>(watcher); }
  /// The application goes on with it now (the reactor's clock is fresh), on the loop thread: should
  /// it never come back, a signal handler answers (stuck_call.h), until withdraw_call().
  virtual void publish() {}
  /// From within call(): the application is called on the outer loop's next round, which begins
  /// with publish(). Replies that are ready before may wait for its reply, in this turn.
  virtual void announce() {}

 protected:
  ~Exchange() = default;
};

class Application {
 public:
  virtual ~Application() = default;
  /// Answers the exchange. May return before it is finished; it is then finished later on this
  /// thread. Does not throw. An exchange neither finished nor aborted stays open.
  virtual void call(Exchange& exchange) = 0;
  /// Whether it is called as soon as the head is complete, and takes the body as it comes: but for
  /// handshakes of WebSockets, which have none. Always the same.
  virtual bool streams_bodies() const { return false; }
};

}  // namespace green::http
