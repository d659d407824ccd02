// EventLoop and EventSource: sd-event(3) with owned callbacks. greend's only thread.
// A callback may destroy its own EventSource. Callbacks do not throw.
#pragma once

#include <systemd/sd-event.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "common/result.h"

namespace green::manager {

/// One registered source; destroying it ends its callbacks. Empty by default.
class EventSource {
 public:
  EventSource() = default;
  EventSource(EventSource&&) noexcept;
  EventSource& operator=(EventSource&&) noexcept;
  ~EventSource();
  explicit operator bool() const { return state_ != nullptr; }

  /// For I/O sources: poll(2)-style EPOLL* events.
  void set_io_events(std::uint32_t events);
  /// For timers: absolute µs of CLOCK_MONOTONIC; arms it.
  void set_time(std::uint64_t monotonic_usec);
  void disarm();
  /// Runs before each wait of the loop (sd_event_source_set_prepare(3)).
  void set_prepare(std::function<void()> callback);

 private:
  friend class EventLoop;
  struct State;
  explicit EventSource(std::shared_ptr<State> state);
  // shared: a running callback keeps its state alive while it destroys the source.
  std::shared_ptr<State> state_;
};

class EventLoop {
 public:
  static Result<EventLoop> create();

  /// Level-triggered. The descriptor stays the caller's.
  Result<EventSource> add_io(int fd, std::uint32_t events,
                             std::function<void(std::uint32_t)> callback);
  /// One-shot at `monotonic_usec`; re-armed by set_time().
  Result<EventSource> add_timer(std::uint64_t monotonic_usec, std::function<void()> callback);
  /// The signal must be blocked already.
  Result<EventSource> add_signal(int signal_number, std::function<void()> callback);
  /// Once, in the next turn.
  Result<EventSource> add_defer(std::function<void()> callback);

  /// Runs until exit(); returns its status.
  Result<int> run();
  /// One turn; the status once exit() was called.
  Result<std::optional<int>> turn();
  void exit(int status);
  /// For libraries that attach themselves to it.
  sd_event* handle() const { return event_.get(); }

 private:
  struct Unref {
    void operator()(sd_event* event) const { sd_event_unref(event); }
  };
  explicit EventLoop(sd_event* event) : event_(event) {}
  std::unique_ptr<sd_event, Unref> event_;
};

}  // namespace green::manager
