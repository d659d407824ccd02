// What all connections of a server share. Loop thread.
#pragma once

#include <array>
#include <functional>

#include "daemon/http/application.h"
#include "daemon/http/date_line.h"
#include "daemon/http/http_exchange.h"
#include "daemon/http/limits.h"
#include "daemon/http/reactor.h"
#include "daemon/http/server.h"
#include "daemon/http/timeout_list.h"

namespace green::http {

class Connection;

struct ConnectionContext {
  ConnectionContext(Reactor& reactor, Application& application, ServerObserver& observer,
                    Limits limits);
  ~ConnectionContext();

  Reactor& reactor;
  Application& application;
  ServerObserver& observer;
  const Limits limits;
  bool draining = false;
  bool hurried = false;  ///< draining promptly
  DateLine date;
  ExchangePool pool;
  TimeoutList head_timeouts;
  TimeoutList body_timeouts;
  TimeoutList write_timeouts;
  TimeoutList idle_timeouts;
  TimeoutList linger_timeouts;
  TimeoutList first_request_timeouts;  ///< of connections that never sent one, draining
  TimeoutList short_linger_timeouts;
  std::array<char, 64 << 10> read_buffer;
  /// Connections without a socket whose application was given up on and has not returned yet.
  std::size_t given_up = 0;
  /// One more of them: the last that drain() waits for, maybe.
  std::function<void()> has_given_up;
  /// Takes a closed connection off the server, to be destroyed once no code of it is running.
  std::function<void(Connection&)> retire;
};

}  // namespace green::http
