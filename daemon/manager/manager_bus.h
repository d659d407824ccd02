// ManagerBus: org.greend1.<site> on a bus, as common/org.greend1.xml says. Holds no decision: it
// reads the Manager and asks it. greend's thread. Without a bus the site serves all the same; a
// lost bus is connected to again.
#pragma once

#include <memory>
#include <string>

#include "daemon/manager/event_loop.h"
#include "daemon/manager/manager.h"

namespace green::manager {

class ManagerBus : public ManagerObserver {
 public:
  /// `bus`: "system", "user" or an address. Never fails: says once what is wrong, and tries again.
  static std::unique_ptr<ManagerBus> create(EventLoop& loop, Manager& manager, std::string site,
                                            std::string bus);
};

}  // namespace green::manager
