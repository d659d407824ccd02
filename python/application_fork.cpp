#include "python/application_fork.h"

#include <pthread.h>
#include <unistd.h>

#include <atomic>

#include "common/log.h"

namespace green::python {
namespace {

// Atomic for the handler's sake: it may run on any thread that forks.
std::atomic<bool> own_fork{false};
std::atomic<bool> forked{false};

}  // namespace

void watch_for_forks() {
  static const int registered = ::pthread_atfork(nullptr, nullptr, [] {
    if (!own_fork.load(std::memory_order_relaxed)) forked.store(true, std::memory_order_relaxed);
  });
  if (registered != 0) log_warning("forks of the application can't be noticed: out of memory");
}

void set_own_fork(bool own) { own_fork.store(own, std::memory_order_relaxed); }

void end_if_forked() {
  if (!forked.load(std::memory_order_relaxed)) [[likely]]
    return;
  log_warning(
      "process {} is a child that the application forked and that returned from it: ended; "
      "a forked child must end by os._exit() or exec",
      ::getpid());
  ::_exit(1);
}

}  // namespace green::python
