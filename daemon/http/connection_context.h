// What all connections of a server share. Loop thread.
#pragma once

#include <array>
#include <functional>

#include "daemon/http/access_log.h"
#include "daemon/http/application.h"
#include "daemon/http/arrivals.h"
#include "daemon/http/date_line.h"
#include "daemon/http/held_replies.h"
#include "daemon/http/http_exchange.h"
#include "daemon/http/limits.h"
#include "daemon/http/reactor.h"
#include "daemon/http/server.h"
#include "daemon/http/timeout_list.h"
#include "daemon/http/websocket_codec.h"

namespace green::http {

class Connection;

struct ConnectionContext {
  ConnectionContext(Reactor& reactor, Application& application, ServerObserver& observer,
                    Limits limits, AccessLog* access_log);
  ~ConnectionContext();

  Reactor& reactor;
  Application& application;
  ServerObserver& observer;
  const Limits limits;
  bool draining = false;
  bool hurried = false;  ///< draining promptly
  DateLine date;
  RequestIdSource request_ids;
  const bool streams_bodies;    ///< into the application
  AccessLog* const access_log;  ///< null: there is none
  ExchangePool pool;
  HeldReplies held;
  TimeoutList head_timeouts;
  TimeoutList body_timeouts;
  TimeoutList write_timeouts;
  TimeoutList idle_timeouts;
  TimeoutList linger_timeouts;
  TimeoutList first_request_timeouts;  ///< of connections that never sent one, draining
  TimeoutList short_linger_timeouts;
  TimeoutList ping_timeouts;     ///< of WebSockets whose client says nothing
  TimeoutList pong_timeouts;     ///< of those that were pinged
  TimeoutList closing_timeouts;  ///< of those whose client has to answer a Close
  CodecTools codec_tools;
  Arrivals arrivals;
  std::array<char, 64 << 10> read_buffer;
  /// Connections without a socket whose application was given up on and has not returned yet.
  std::size_t given_up = 0;
  /// One more of them: the last that drain() waits for, maybe.
  std::function<void()> has_given_up;
  /// Takes a closed connection off the server, to be destroyed once no code of it is running.
  std::function<void(Connection&)> retire;
};

}  // namespace green::http
