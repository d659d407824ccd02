// The listening sockets: those systemd passed (sd_listen_fds(3)), or our own from `bind`. greend's
// thread.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "common/fd.h"
#include "common/result.h"

namespace green::manager {

struct Listener {
  Fd fd;
  std::string
      address;  ///< "127.0.0.1:8000", "[::1]:8000", "unix:/run/green/site.sock", "unix:@abstract"
  /// A unix socket's path to remove at exit; empty where systemd owns it.
  std::string unlink_path{};
};

struct PassedSockets {
  bool any_passed = false;  ///< LISTEN_FDS was set for us, usable or not
  std::vector<Listener> listeners;
  Fd failed_starts{};  ///< no socket: what a greend before had kept (failed_starts.h)
};

/// Takes every descriptor of LISTEN_FDS and removes the variables. Listening stream sockets named
/// "http", after a socket unit, or not at all ("unknown") are kept, and what FailedStarts had kept;
/// anything else is closed with a warning.
Result<PassedSockets> take_passed_sockets();

/// Binds and listens: "HOST:PORT", "[V6]:PORT", "unix:/path". A stale unix socket, one nobody
/// listens on, is replaced. ErrorCode::configuration names the address.
Result<std::vector<Listener>> bind_sockets(std::span<const std::string> addresses);

/// What the address of a listening socket is called in status and messages.
std::string describe_listener(int fd);

}  // namespace green::manager
