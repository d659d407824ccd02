#include "daemon/manager/bus_preflight.h"

#include <fmt/format.h>

#include <cstdlib>
#include <utility>

#include "common/scoreboard.h"

namespace green::manager {
namespace {

constexpr std::uint64_t limit_usec = 5'000'000;
constexpr const char* local_interface = "org.freedesktop.DBus.Local";

}  // namespace

std::string bus_address(const std::string& bus) {
  const auto variable = [](const char* name) {
    const char* const value = std::getenv(name);
    return std::string(value != nullptr ? value : "");
  };
  if (bus == "system") {
    const std::string address = variable("DBUS_SYSTEM_BUS_ADDRESS");
    return address.empty() ? "unix:path=/run/dbus/system_bus_socket" : address;
  }
  if (bus != "user") return bus;
  const std::string address = variable("DBUS_SESSION_BUS_ADDRESS");
  return address.empty() ? fmt::format("unix:path={}/bus", variable("XDG_RUNTIME_DIR")) : address;
}

Result<std::unique_ptr<BusPreflight>> BusPreflight::start(
    EventLoop& loop, const std::string& bus, std::function<void(const std::string&)> done) {
  auto preflight = std::unique_ptr<BusPreflight>(new BusPreflight);
  preflight->done_ = std::move(done);
  if (auto connected = preflight->connect(loop, bus_address(bus)); !connected)
    return fail(std::move(connected.error()));
  auto timer = loop.add_timer(monotonic_usec() + limit_usec, [self = preflight.get()] {
    self->finish(fmt::format("the bus has not answered for {} s", limit_usec / 1'000'000));
  });
  if (!timer) return fail(std::move(timer.error()));
  preflight->limit_ = std::move(*timer);
  return preflight;
}

Result<void> BusPreflight::connect(EventLoop& loop, const std::string& address) {
  sd_bus* bus = nullptr;
  int error = sd_bus_new(&bus);
  if (error < 0) return fail(Error::from_errno("sd_bus_new", -error));
  bus_.reset(bus);
  error = sd_bus_set_address(bus, address.c_str());
  if (error >= 0) error = sd_bus_set_bus_client(bus, 1);
  if (error >= 0) error = sd_bus_set_connected_signal(bus, 1);
  if (error >= 0) error = sd_bus_add_filter(bus, nullptr, &BusPreflight::on_message, this);
  // At the loop's exit sd-bus would flush, which waits for the bus.
  if (error >= 0) error = sd_bus_set_close_on_exit(bus, 0);
  if (error >= 0) error = sd_bus_start(bus);
  if (error >= 0) error = sd_bus_attach_event(bus, loop.handle(), SD_EVENT_PRIORITY_NORMAL);
  if (error < 0) return fail(Error::from_errno(fmt::format("bus {}", address), -error));
  return {};
}

int BusPreflight::on_message(sd_bus_message* message, void* data, sd_bus_error*) {
  auto* const self = static_cast<BusPreflight*>(data);
  if (sd_bus_message_is_signal(message, local_interface, "Connected") > 0) self->finish({});
  if (sd_bus_message_is_signal(message, local_interface, "Disconnected") > 0)
    self->finish("the bus closed the connection");
  return 0;
}

void BusPreflight::finish(const std::string& why) {
  limit_.disarm();
  if (const auto done = std::exchange(done_, {})) done(why);
}

}  // namespace green::manager
