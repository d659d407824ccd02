#include "daemon/http/connection_context.h"

#include <algorithm>

namespace green::http {
namespace {

/// A client that has just connected has its request on the way.
constexpr std::chrono::microseconds shortest_wait = std::chrono::seconds(1);
constexpr std::chrono::microseconds short_linger = std::chrono::milliseconds(500);
/// For the client's part of a closing.
constexpr std::chrono::microseconds closing_time = std::chrono::seconds(10);

}  // namespace

ConnectionContext::ConnectionContext(Reactor& the_reactor, Application& the_application,
                                     ServerObserver& the_observer, Limits the_limits,
                                     AccessLog* the_access_log)
    : reactor(the_reactor),
      application(the_application),
      observer(the_observer),
      limits(std::move(the_limits)),
      streams_bodies(the_application.streams_bodies()),
      access_log(the_access_log),
      pool(limits, date, request_ids),
      held(reactor),
      head_timeouts(limits.head_time),
      body_timeouts(limits.body_idle),
      write_timeouts(limits.write_stall),
      idle_timeouts(limits.keepalive),
      linger_timeouts(limits.linger),
      first_request_timeouts(std::clamp(limits.keepalive, std::min(shortest_wait, limits.head_time),
                                        limits.head_time)),
      short_linger_timeouts(std::min(limits.linger, short_linger)),
      ping_timeouts(limits.websocket_ping_interval),
      pong_timeouts(limits.websocket_ping_timeout),
      closing_timeouts(closing_time) {
  for (TimeoutList* list : {&head_timeouts, &body_timeouts, &write_timeouts, &idle_timeouts,
                            &linger_timeouts, &first_request_timeouts, &short_linger_timeouts,
                            &ping_timeouts, &pong_timeouts, &closing_timeouts}) {
    reactor.add_timeouts(*list);
  }
}

ConnectionContext::~ConnectionContext() {
  for (TimeoutList* list : {&head_timeouts, &body_timeouts, &write_timeouts, &idle_timeouts,
                            &linger_timeouts, &first_request_timeouts, &short_linger_timeouts,
                            &ping_timeouts, &pong_timeouts, &closing_timeouts}) {
    reactor.remove_timeouts(*list);
  }
}

}  // namespace green::http
