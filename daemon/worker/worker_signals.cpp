#include "daemon/worker/worker_signals.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>

#include "common/high_fd.h"
#include "daemon/http/stuck_call.h"

namespace green::worker {
namespace {

// Written before the handlers that read them are set.
std::atomic<int> term_event{-1};
std::atomic<pid_t> worker_pid{0};
std::atomic<int> exit_status{0};

std::atomic<int> dump_signal{0};
std::atomic<pid_t> loop_thread{0};
std::atomic<void (*)(int)> write_stacks{nullptr};
std::atomic<bool> passed_on{false};

void on_terminal_signal(int) {}

/// The loop thread may be one that the kernel can't interrupt, or that blocks signals: whichever
/// thread was chosen writes the stacks of all, and the loop's answers when it can.
void on_dump_signal(int number) {
  const int saved = errno;
  bool has_stacks = false;
  if (::gettid() == loop_thread.load()) {
    http::answer_published_call();
    has_stacks = passed_on.exchange(false);
  } else {
    passed_on.store(true);
    ::tgkill(::getpid(), loop_thread.load(), number);
  }
  if (auto* const write = write_stacks.load(); write != nullptr && !has_stacks) write(number);
  errno = saved;
}

void on_term(int) {
  // A child that the application forked has this handler and shares the event: it is not the
  // worker.
  if (::getpid() != worker_pid.load()) {
    ::signal(SIGTERM, SIG_DFL);
    ::raise(SIGTERM);  // on return
    return;
  }
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

/// As faulthandler's own: it may run on the signal stack.
void set_dump_handler(int number) {
  struct sigaction action{};
  action.sa_handler = on_dump_signal;
  action.sa_flags = SA_RESTART | SA_ONSTACK;
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
  worker_pid.store(::getpid());
  set_handler(SIGTERM, on_term);
  return high;
}

void answer_stuck_calls_on(int number) {
  struct sigaction previous{};
  ::sigaction(number, nullptr, &previous);
  const bool is_handler = (previous.sa_flags & SA_SIGINFO) == 0 && previous.sa_handler != SIG_DFL &&
                          previous.sa_handler != SIG_IGN && previous.sa_handler != on_dump_signal;
  if (is_handler) write_stacks.store(previous.sa_handler);
  loop_thread.store(::gettid());
  dump_signal.store(number);
  set_dump_handler(number);
}

void restore_signal_handlers() {
  set_handler(SIGTERM, on_term);
  if (const int number = dump_signal.load(); number != 0) set_dump_handler(number);
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
