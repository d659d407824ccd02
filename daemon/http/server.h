// The HTTP server of one worker: listeners in, connections out to an Application. Loop thread.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/fd.h"
#include "common/request_list.h"
#include "common/result.h"
#include "common/worker_spec.h"
#include "daemon/http/access_log.h"
#include "daemon/http/application.h"
#include "daemon/http/limits.h"
#include "daemon/http/reactor.h"

namespace green::http {

/// How many connections a server has beside others that accept from the same listeners.
enum class Share { alone, fair, large };

/// What the worker wants to know (its scoreboard slot) or decide. Called on the loop thread.
class ServerObserver {
 public:
  virtual ~ServerObserver() = default;
  /// Asked before each accept4(): a flag in shared memory may have turned since epoll reported.
  virtual bool may_accept() { return true; }
  /// Asked after each connection accepted.
  virtual Share share() { return Share::alone; }
  virtual void connection_opened() {}
  virtual void connection_closed() {}
  /// A whole request was read; the application is called now (CLOCK_MONOTONIC in µs, fresh).
  virtual void call_begins(std::uint64_t now_usec, const Request& request) {
    (void)now_usec;
    (void)request;
  }
  /// Application::call() returned; the reply may still be unfinished.
  virtual void call_ended() {}
  /// The reply was handed to the kernel whole, or the connection is gone. One for each
  /// call_begins().
  virtual void request_done() {}
};

/// What a connection has in flight. Views hold until the server's loop turns.
struct InFlight {
  RequestState state{};
  std::uint64_t since_usec = 0;  ///< CLOCK_MONOTONIC: the call's beginning, or the request's
  std::string_view method{};     ///< empty: not known yet
  std::string_view path{};
  std::string_view client{};           ///< empty: a unix socket's
  const Exchange* exchange = nullptr;  ///< the application's, while it has one
};

class Server {
 public:
  /// All of them outlive the server. `access_log` null: none.
  static std::unique_ptr<Server> create(Reactor& reactor, Application& application,
                                        ServerObserver& observer, Limits limits,
                                        AccessLog* access_log = nullptr);
  /// Closes every connection; exchanges are gone with it.
  virtual ~Server() = default;

  /// A bound, listening socket (TCP or unix). Before or after start_accepting().
  virtual Result<void> add_listener(Fd listener) = 0;
  virtual Result<void> start_accepting() = 0;
  /// Closes our listeners, after a last look for a connection whose wake-up only we got.
  virtual void stop_accepting() = 0;
  /// Stops accepting; requests in flight are finished; the next one on a keep-alive connection is
  /// answered with Connection: close; idle connections are closed late and not all at once (see
  /// Limits), or within a second where the pace is prompt. Then `on_drained`, once.
  virtual void drain(std::function<void()> on_drained, DrainPace pace = DrainPace::patient) = 0;
  /// Of a server that drains patiently: promptly from here on.
  virtual void hurry() = 0;
  virtual bool draining() const = 0;

  /// Serves a connected stream socket as if it had been accepted (tests, an acceptor elsewhere).
  virtual Result<void> adopt(Fd socket) = 0;
  virtual std::size_t connection_count() const = 0;
  /// Every request, and every WebSocket.
  virtual void for_each_in_flight(const std::function<void(const InFlight&)>& tell) const = 0;
};

}  // namespace green::http
