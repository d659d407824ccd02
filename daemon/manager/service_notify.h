// ServiceNotify: what greend tells its service manager, by sd_notify(3). Without NOTIFY_SOCKET
// every call does nothing. greend's thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "daemon/manager/event_loop.h"

namespace green::manager {

/// The line of an error that says most: the last of a traceback, else the first.
std::string_view gist_of(std::string_view error);

class ServiceNotify {
 public:
  /// Reads WATCHDOG_USEC and WATCHDOG_PID (sd_watchdog_enabled(3)).
  explicit ServiceNotify(EventLoop& loop);

  void ready(std::string_view status);
  /// RELOADING=1 with MONOTONIC_USEC in one datagram; ready() must follow, whatever comes of it.
  void reloading(std::string_view status);
  void stopping(std::string_view status);
  /// One line; a changed one is sent at most every 200 ms, the last one always.
  void status(std::string_view text);
  /// More time for the start, reload or stop that is under way.
  void extend_timeout(std::uint64_t usec);
  void feed_watchdog();
  /// Has the service manager keep a descriptor of the service, for the next start (FDSTORE=1).
  void keep(int fd, std::string_view name);
  void keep_no_longer(std::string_view name);
  /// For EX_CONFIG and failed starts: a STATUS that is the last word, sent at once.
  void failed(std::string_view status);

  /// 0: the service manager watches no watchdog.
  std::uint64_t watchdog_usec() const { return watchdog_usec_; }
  const std::string& status_text() const { return status_; }

 private:
  void send(const std::string& state);
  void send_status();

  EventLoop& loop_;
  std::uint64_t watchdog_usec_ = 0;
  std::string status_;
  std::string sent_status_;
  std::uint64_t status_sent_usec_ = 0;
  EventSource status_timer_;
};

}  // namespace green::manager
