#include "daemon/worker/standard_streams.h"

#include <fcntl.h>
#include <unistd.h>

#include "common/high_fd.h"

namespace green::worker {

Result<StandardStreams> StandardStreams::keep() {
  StandardStreams streams;
  for (int fd = 0; fd < 3; ++fd) {
    auto& copy = streams.copies_[static_cast<std::size_t>(fd)];
    copy.reset(::fcntl(fd, F_DUPFD_CLOEXEC, lowest_high_fd));
    if (copy) continue;
    // Started with it closed: it must not become one of ours.
    auto null = move_high(Fd(::open("/dev/null", O_RDWR | O_CLOEXEC)));
    if (!null) return fail(std::move(null.error()));
    copy = std::move(*null);
    if (::dup2(copy.get(), fd) < 0) return fail_errno("opening the standard streams");
  }
  return streams;
}

void StandardStreams::restore() const {
  for (int fd = 0; fd < 3; ++fd)
    // A failure here has nowhere to be told, and comes by again.
    if (::fcntl(fd, F_GETFD) < 0) ::dup2(copies_[static_cast<std::size_t>(fd)].get(), fd);
}

}  // namespace green::worker
