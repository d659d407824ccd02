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

/// A complete request: head and whole body have been read. Views live as long as the exchange.
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
  bool chunked = false;  ///< the body came in chunks: its length is body->size() alone
  const Endpoints* endpoints = nullptr;
  Body* body = nullptr;  ///< never null
};

/// Bytes of a regular file, which nobody else reads or closes by this descriptor.
struct FilePart {
  Fd file;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
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
  /// An interim response (103, early hints), sent at once; nothing is sent to HTTP/1.0. Errors: a
  /// status out of 102–199, a bad header, or the reply's head was sent (ErrorCode::application);
  /// the client is gone (ErrorCode::unavailable).
  virtual Result<void> send_interim(int status, std::span<const Header> headers) = 0;
  /// A part of the body, sent at once. Errors: more than the declared Content-Length (what fits is
  /// sent) or no start() (ErrorCode::application); the client is gone (ErrorCode::unavailable).
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
  virtual bool head_sent() const = 0;
  /// False once the client is known to be gone.
  virtual bool client_connected() const = 0;

 protected:
  ~Exchange() = default;
};

class Application {
 public:
  virtual ~Application() = default;
  /// Answers the exchange. May return before it is finished; it is then finished later on this
  /// thread. Does not throw. An exchange neither finished nor aborted stays open.
  virtual void call(Exchange& exchange) = 0;
};

}  // namespace green::http
