// BusPreflight: whether a bus answers, found out without waiting for it. sdbus-c++ shakes hands
// with a bus synchronously: one that accepts and says nothing would hold the manager's loop for as
// long as sd-bus is patient. So a connection of our own shakes hands first, on the loop. greend's
// thread.
#pragma once

#include <systemd/sd-bus.h>

#include <functional>
#include <memory>
#include <string>

#include "daemon/manager/event_loop.h"

namespace green::manager {

/// The address of "system", "user" or an address, as libsystemd finds it.
std::string bus_address(const std::string& bus);

class BusPreflight {
 public:
  /// Calls back once, from the loop, with what is wrong; empty: the bus answered. `bus`: "system",
  /// "user" or an address. The callback must not destroy this object.
  static Result<std::unique_ptr<BusPreflight>> start(EventLoop& loop, const std::string& bus,
                                                     std::function<void(const std::string&)> done);

 private:
  struct CloseUnref {
    void operator()(sd_bus* bus) const { sd_bus_close_unref(bus); }
  };
  BusPreflight() = default;
  Result<void> connect(EventLoop& loop, const std::string& address);
  void finish(const std::string& why);
  static int on_message(sd_bus_message* message, void* data, sd_bus_error* error);

  std::function<void(const std::string&)> done_;
  std::unique_ptr<sd_bus, CloseUnref> bus_;
  EventSource limit_;
};

}  // namespace green::manager
