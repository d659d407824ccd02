#include "daemon/worker/low_descriptors.h"

#include <fcntl.h>
#include <unistd.h>

#include "common/high_fd.h"

namespace green::worker {

Result<LowDescriptors> LowDescriptors::keep() {
  LowDescriptors low;
  auto null = move_high(Fd(::open("/dev/null", O_RDWR | O_CLOEXEC)));
  if (!null) return fail(std::move(null.error()).context("/dev/null"));
  low.null_ = std::move(*null);
  for (int fd = 0; fd < 3; ++fd) {
    auto& copy = low.copies_[static_cast<std::size_t>(fd)];
    // Started with it closed: it must not become one of ours.
    if (::fcntl(fd, F_GETFD) < 0 && ::dup2(low.null_.get(), fd) < 0)
      return fail_errno("opening the standard streams");
    copy.reset(::fcntl(fd, F_DUPFD_CLOEXEC, moved_fd));
    if (!copy) return fail_errno("keeping the standard streams");
  }
  return low;
}

void LowDescriptors::restore_streams() const {
  for (int fd = 0; fd < 3; ++fd) {
    if (::fcntl(fd, F_GETFD) >= 0) continue;
    // Not dup2: a thread of the application may have opened something under the number meanwhile.
    // A failure has nowhere to be told, and comes by again.
    Fd restored(::fcntl(copies_[static_cast<std::size_t>(fd)].get(), F_DUPFD, fd));
    if (restored.get() == fd) restored.release();
  }
}

void LowDescriptors::occupy() const {
  for (;;) {
    Fd next(::fcntl(null_.get(), F_DUPFD_CLOEXEC, 3));
    if (!next || next.get() >= lowest_high_fd) return;
    next.release();  // it stays, for the number's sake
  }
}

}  // namespace green::worker
