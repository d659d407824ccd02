#include "daemon/http/connection_context.h"

namespace green::http {

ConnectionContext::ConnectionContext(Reactor& the_reactor, Application& the_application,
                                     ServerObserver& the_observer, Limits the_limits)
    : reactor(the_reactor),
      application(the_application),
      observer(the_observer),
      limits(std::move(the_limits)),
      pool(limits, date),
      head_timeouts(limits.head_time),
      body_timeouts(limits.body_idle),
      write_timeouts(limits.write_stall),
      idle_timeouts(limits.keepalive),
      linger_timeouts(limits.linger),
      drain_timeouts(limits.drain_idle) {
  for (TimeoutList* list : {&head_timeouts, &body_timeouts, &write_timeouts, &idle_timeouts,
                            &linger_timeouts, &drain_timeouts}) {
    reactor.add_timeouts(*list);
  }
}

ConnectionContext::~ConnectionContext() {
  for (TimeoutList* list : {&head_timeouts, &body_timeouts, &write_timeouts, &idle_timeouts,
                            &linger_timeouts, &drain_timeouts}) {
    reactor.remove_timeouts(*list);
  }
}

}  // namespace green::http
