#include "daemon/worker/worker_signals.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>

#include "common/high_fd.h"

namespace green::worker {
namespace {

// Written before the handlers that read them are set.
std::atomic<int> term_event{-1};
std::atomic<int> exit_status{0};

void on_terminal_signal(int) {}

void on_term(int) {
  const int saved = errno;
  const std::uint64_t one = 1;
  // Can only fail when the counter is full: then it is readable all the same.
  [[maybe_unused]] const ssize_t written = ::write(term_event.load(), &one, sizeof one);
  errno = saved;
}

void on_exit_alarm(int) { ::_exit(exit_status.load()); }

void set_handler(int number, void (*handler)(int)) {
  struct sigaction action{};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  ::sigaction(number, &action, nullptr);
}

bool is_default_or_ignored(int number) {
  struct sigaction action{};
  ::sigaction(number, nullptr, &action);
  return (action.sa_flags & SA_SIGINFO) == 0 &&
         (action.sa_handler == SIG_DFL || action.sa_handler == SIG_IGN);
}

}  // namespace

void ignore_terminal_signals() {
  for (const int number : {SIGINT, SIGQUIT, SIGHUP}) set_handler(number, on_terminal_signal);
  for (const int number : {SIGPIPE, SIGXFSZ}) ::signal(number, SIG_IGN);
}

Result<Fd> watch_sigterm() {
  Fd event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!event) return fail_errno("eventfd");
  auto high = move_high(std::move(event));
  if (!high) return high;
  term_event.store(high->get());
  set_handler(SIGTERM, on_term);
  return high;
}

void restore_signal_handlers() {
  set_handler(SIGTERM, on_term);
  // A handler of the application's does no harm there; only the default does.
  for (const int number : {SIGINT, SIGQUIT, SIGHUP})
    if (is_default_or_ignored(number)) set_handler(number, on_terminal_signal);
  struct sigaction action{};
  ::sigaction(SIGPIPE, nullptr, &action);
  if ((action.sa_flags & SA_SIGINFO) == 0 && action.sa_handler == SIG_DFL)
    ::signal(SIGPIPE, SIG_IGN);
}

void exit_after(unsigned seconds, int status) {
  exit_status.store(status);
  set_handler(SIGALRM, on_exit_alarm);
  ::alarm(seconds);
}

}  // namespace green::worker
