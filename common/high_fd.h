// Descriptors out of the reach of applications: code that "closes everything" means the low numbers, and
// must not take a worker's channel, loop or connections with it. Any thread.
#pragma once

#include <fcntl.h>

#include "common/fd.h"
#include "common/result.h"

namespace green {

inline constexpr int lowest_high_fd = 100;

/// The same open file under a number of at least lowest_high_fd, close-on-exec; `fd` itself where it is
/// that high already. An empty `fd` is the error that errno says.
inline Result<Fd> move_high(Fd fd) {
  if (fd.get() >= lowest_high_fd) return fd;
  if (!fd) return fail_errno("opening a descriptor");  // of the call that failed to make it
  Fd moved(::fcntl(fd.get(), F_DUPFD_CLOEXEC, lowest_high_fd));
  if (!moved) return fail_errno("moving a descriptor out of the application's reach");
  return moved;
}

}  // namespace green
