// Descriptors out of the reach of applications: code that "closes everything" means the low
// numbers, and must not take a worker's channel, loop or connections with it. Any thread.
#pragma once

#include <fcntl.h>

#include "common/fd.h"
#include "common/result.h"

namespace green {

/// Below it, a descriptor is the application's to use and misuse. A worker keeps these numbers
/// occupied, so that what it opens is rarely moved.
inline constexpr int lowest_high_fd = 16;
/// Where those are moved that are too low.
inline constexpr int moved_fd = 100;

/// `fd`, or the same open file under a high number, close-on-exec. An empty `fd` is the error that
/// errno says.
inline Result<Fd> move_high(Fd fd) {
  if (fd.get() >= lowest_high_fd) return fd;
  if (!fd) return fail_errno("opening a descriptor");  // of the call that failed to make it
  Fd moved(::fcntl(fd.get(), F_DUPFD_CLOEXEC, moved_fd));
  if (!moved) return fail_errno("moving a descriptor out of the application's reach");
  return moved;
}

}  // namespace green
