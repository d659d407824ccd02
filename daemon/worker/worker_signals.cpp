#include "daemon/worker/worker_signals.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstring>

#include "common/high_fd.h"
#include "common/worker_spec.h"
#include "daemon/http/held_replies.h"
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

std::atomic<int> stacks_signal{0};
std::atomic<int> stacks_socket{-1};
std::atomic<int> stacks_output{-1};
std::atomic<int> stacks_nowhere{-1};
std::atomic<pid_t (*)()> gil_thread{nullptr};
std::atomic<void (*)(int)> write_asked_stacks{nullptr};
std::atomic<bool> stacks_passed_on{false};

struct FatalSignal {
  int number;
  struct sigaction previous{};
};
/// What ends a process by default; SIGTERM and a terminal's have handlers of their own.
std::array fatal_signals{FatalSignal{SIGSEGV}, FatalSignal{SIGBUS},  FatalSignal{SIGFPE},
                         FatalSignal{SIGILL},  FatalSignal{SIGABRT}, FatalSignal{SIGTRAP},
                         FatalSignal{SIGSYS},  FatalSignal{SIGXCPU}, FatalSignal{SIGALRM},
                         FatalSignal{SIGUSR1}, FatalSignal{SIGUSR2}, FatalSignal{SIGVTALRM},
                         FatalSignal{SIGPROF}};

/// Of these the instruction that was at fault is done again.
bool is_fault(int number) {
  return number == SIGSEGV || number == SIGBUS || number == SIGFPE || number == SIGILL;
}

void on_terminal_signal(int) {}

/// The pipe of a `dump_stacks` message that waits; -1: none does.
int take_stacks_pipe() {
  Message message;
  iovec vector{&message, sizeof message};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr header{};
  header.msg_iov = &vector;
  header.msg_iovlen = 1;
  header.msg_control = control.data();
  header.msg_controllen = control.size();
  if (::recvmsg(stacks_socket.load(), &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) < 0) return -1;
  const cmsghdr* const part = CMSG_FIRSTHDR(&header);
  if (part == nullptr || part->cmsg_type != SCM_RIGHTS) return -1;
  int pipe = -1;
  std::memcpy(&pipe, CMSG_DATA(part), sizeof pipe);
  return pipe;
}

/// Every thread but the one that holds the GIL may be anywhere in the interpreter: passed on to
/// that one, once.
void on_stacks_signal(int number) {
  const int saved = errno;
  auto* const find = gil_thread.load();
  const pid_t holder = find != nullptr ? find() : 0;
  if (holder != 0 && holder != ::gettid() && !stacks_passed_on.exchange(true) &&
      ::tgkill(::getpid(), holder, number) == 0) {
    errno = saved;
    return;
  }
  stacks_passed_on.store(false);
  const int pipe = take_stacks_pipe();
  auto* const write = write_asked_stacks.load();
  if (pipe >= 0 && write != nullptr) {
    ::dup3(pipe, stacks_output.load(), O_CLOEXEC);
    write(number);
    ::dup3(stacks_nowhere.load(), stacks_output.load(), O_CLOEXEC);
  }
  if (pipe >= 0) ::close(pipe);
  errno = saved;
}

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

/// The replies that the process holds do not die with it. Then as ever: faulthandler's handler
/// writes the stacks of a crash, and the default action follows.
void on_fatal_signal(int number, siginfo_t* info, void*) {
  http::HeldReplies::send_all_from_handler();
  for (const FatalSignal& one : fatal_signals)
    if (one.number == number) ::sigaction(number, &one.previous, nullptr);
  // On return. A fault happens again by itself, and tells the core where.
  if (info->si_code <= 0 || !is_fault(number)) ::raise(number);
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
void set_stack_handler(int number, void (*handler)(int)) {
  struct sigaction action{};
  action.sa_handler = handler;
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
  set_stack_handler(number, on_dump_signal);
}

void send_held_replies_at_death() {
  for (FatalSignal& one : fatal_signals) {
    struct sigaction current{};
    ::sigaction(one.number, nullptr, &current);
    if ((current.sa_flags & SA_SIGINFO) != 0 && current.sa_sigaction == on_fatal_signal) continue;
    // Ignored, or the application's: it ends nothing.
    const bool is_ours_to_take =
        is_fault(one.number) || one.number == SIGABRT ||
        ((current.sa_flags & SA_SIGINFO) == 0 && current.sa_handler == SIG_DFL);
    if (!is_ours_to_take) continue;
    one.previous = current;
    struct sigaction ours{};
    ours.sa_sigaction = on_fatal_signal;
    ours.sa_flags = SA_SIGINFO | SA_ONSTACK;
    ::sigaction(one.number, &ours, nullptr);
  }
}

Result<void> answer_stacks_on(int number, Fd socket, Fd output, pid_t (*thread_with_gil)()) {
  auto nowhere = move_high(Fd(::fcntl(output.get(), F_DUPFD_CLOEXEC, moved_fd)));
  if (!nowhere) return fail(std::move(nowhere.error()));
  struct sigaction previous{};
  ::sigaction(number, nullptr, &previous);
  if ((previous.sa_flags & SA_SIGINFO) != 0 || previous.sa_handler == SIG_DFL ||
      previous.sa_handler == SIG_IGN)
    return fail(ErrorCode::unavailable, "faulthandler has not taken the signal");
  write_asked_stacks.store(previous.sa_handler);
  gil_thread.store(thread_with_gil);
  stacks_socket.store(socket.release());
  stacks_output.store(output.release());
  stacks_nowhere.store(nowhere->release());
  stacks_signal.store(number);
  set_stack_handler(number, on_stacks_signal);
  return {};
}

void restore_signal_handlers() {
  set_handler(SIGTERM, on_term);
  if (const int number = dump_signal.load(); number != 0) set_stack_handler(number, on_dump_signal);
  if (const int number = stacks_signal.load(); number != 0)
    set_stack_handler(number, on_stacks_signal);
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

/// In libc's place for the whole process, Python's os._exit() with it: what is held does not die
/// with a process that ends itself so. POSIX; async-signal-safe. No exit handlers are run.
extern "C" [[gnu::visibility("default")]] void _exit(int status) {
  green::http::HeldReplies::send_all_from_handler();
  for (;;) ::syscall(SYS_exit_group, status);  // does not return
}
