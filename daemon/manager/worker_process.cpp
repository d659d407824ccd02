#include "daemon/manager/worker_process.h"

#include <signal.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <ctime>
#include <fstream>
#include <utility>

#include "common/log.h"
#include "common/scoreboard.h"
#include "common/text.h"

namespace green::manager {

std::string_view worker_state_name(WorkerState state) {
  switch (state) {
    case WorkerState::forking:
    case WorkerState::starting:
      return "starting";
    case WorkerState::ready:
      return "ready";
    case WorkerState::serving:
      return "serving";
    case WorkerState::draining:
      return "draining";
    case WorkerState::killed:
      return "killed";
  }
  return "unknown";
}

namespace {

std::string text_of_file(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

/// As proc_pid_status(5) has it: a mask in hexadecimal.
bool ignores_signal(pid_t pid, int number) {
  std::ifstream file(fmt::format("/proc/{}/status", pid));
  std::uint64_t mask = 0;
  for (std::string line; std::getline(file, line);)
    if (constexpr std::string_view key = "SigIgn:\t"; line.starts_with(key))
      std::from_chars(line.data() + key.size(), line.data() + line.size(), mask, 16);
  return (mask >> static_cast<unsigned>(number - 1) & 1U) != 0;
}

}  // namespace

std::uint64_t realtime_usec() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000U +
         static_cast<std::uint64_t>(now.tv_nsec) / 1'000U;
}

WorkerProcess::WorkerProcess(EventLoop& loop, Children& children, std::uint32_t slot, Fd channel)
    : loop_(loop),
      children_(children),
      slot_(slot),
      created_monotonic_usec_(monotonic_usec()),
      channel_(std::move(channel)) {}

WorkerProcess::~WorkerProcess() {
  if (pid_ != 0) children_.forget(pid_);
}

Result<void> WorkerProcess::listen(Callbacks callbacks) {
  callbacks_ = std::move(callbacks);
  if (!channel_) return {};  // closed by the greend before us
  auto source = loop_.add_io(channel_.get(), EPOLLIN, [this](std::uint32_t) { on_readable(); });
  if (!source) return fail(std::move(source.error()));
  channel_source_ = std::move(*source);
  return {};
}

void WorkerProcess::on_readable() {
  auto received = receive_message(channel_.get());
  if (!received && received.error().errno_value() == EAGAIN) return;
  if (received && *received) {
    callbacks_.message(**received);
    return;
  }
  if (!received) log_error("worker process {}: {}", pid_, received.error().message());
  close_channel();
  callbacks_.channel_closed();
}

void WorkerProcess::close_channel() {
  channel_source_ = {};
  channel_.reset();
}

Result<void> WorkerProcess::adopt(pid_t pid) {
  pidfd_ = Fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  // One that has ended and was waited for already is told of as any other is.
  if (!pidfd_ && errno != ESRCH) return fail_errno(fmt::format("pidfd_open of process {}", pid));
  pid_ = pid;
  state_ = WorkerState::starting;
  started_realtime_usec_ = realtime_usec();
  started_monotonic_usec_ = monotonic_usec();
  watch();
  return {};
}

SavedProcess WorkerProcess::save() const {
  return {.pid = pid_,
          .pidfd = pidfd_.get(),
          .channel = channel_ ? channel_.get() : -1,
          .stacks = stacks_socket_ ? stacks_socket_.get() : -1,
          .slot = slot_,
          .state = std::string(worker_state_name(state_)),
          .started_realtime_usec = started_realtime_usec_,
          .started_monotonic_usec = started_monotonic_usec_,
          .drain_deadline_usec = drain_deadline_usec_};
}

Result<void> WorkerProcess::resume(const SavedProcess& saved) {
  constexpr std::array states{WorkerState::starting, WorkerState::ready, WorkerState::serving,
                              WorkerState::draining, WorkerState::killed};
  const auto* const state = std::ranges::find(states, saved.state, worker_state_name);
  if (state == states.end() || saved.pid <= 0)
    return fail(ErrorCode::protocol,
                fmt::format("process {} in state \"{}\"", saved.pid, printable(saved.state)));
  pidfd_ = Fd(saved.pidfd);
  stacks_socket_ = Fd(saved.stacks);
  pid_ = saved.pid;
  state_ = *state;
  started_realtime_usec_ = saved.started_realtime_usec;
  started_monotonic_usec_ = saved.started_monotonic_usec;
  drain_deadline_usec_ = saved.drain_deadline_usec;
  watch();
  return {};
}

void WorkerProcess::watch() {
  children_.watch(pid_, [this](const ChildExit& child) {
    // What it said last may still be in the channel: hear it before its end.
    while (channel_) {
      auto received = receive_message(channel_.get());
      if (!received || !*received) break;
      callbacks_.message(**received);
    }
    if (stack_dump_) stack_dump_->end();
    pid_ = 0;
    // Moved out: the callee destroys this object, and with it callbacks_.
    const auto exited = std::move(callbacks_.exited);
    exited(child);
  });
}

Result<void> WorkerProcess::send(MessageType type, std::uint32_t slot) {
  Message message;
  message.type = type;
  message.slot = slot;
  return send(message, {});
}

Result<void> WorkerProcess::send_drain(DrainPace pace) {
  Message message;
  message.type = MessageType::drain;
  message.slot = slot_;
  message.code = static_cast<std::int32_t>(pace);
  return send(message, {});
}

Result<void> WorkerProcess::send(const Message& message, std::span<const int> descriptors) {
  if (!channel_) return fail(ErrorCode::unavailable, "its channel is closed");
  return send_message(channel_.get(), message, descriptors);
}

Result<void> WorkerProcess::ask_stacks(StackDump::Done done) {
  if (!stacks_socket_ || pid_ == 0)
    return fail(ErrorCode::unavailable, "it is not set up yet, or can't be asked");
  if (stack_dump_ && !stack_dump_->is_over())
    return fail(ErrorCode::busy, "it has been asked already");
  auto dump = StackDump::start(
      loop_, stacks_socket_.get(), [this] { signal(worker_stacks_signal()); }, std::move(done));
  if (!dump) return fail(std::move(dump.error()));
  stack_dump_ = std::move(*dump);
  return {};
}

std::string WorkerProcess::why_silent() const {
  const std::string stat = text_of_file(fmt::format("/proc/{}/stat", pid_));
  const auto end_of_name = stat.rfind(')');
  const char state = end_of_name == std::string::npos || stat.size() < end_of_name + 3
                         ? '?'
                         : stat[end_of_name + 2];
  switch (state) {
    case 'T':
    case 't':
      return "it is stopped (state T): a signal or a debugger holds it";
    case 'D':
      return fmt::format("the kernel holds it (state D) in {}",
                         printable(text_of_file(fmt::format("/proc/{}/wchan", pid_))));
    case 'Z':
    case '?':
      return "it has ended";
    default:
      if (ignores_signal(pid_, worker_stacks_signal()))
        return "it is about to end: its interpreter has ended";
      return fmt::format("it blocks the signal that asks for them (state {})", state);
  }
}

void WorkerProcess::signal(int signal_number) {
  if (pid_ == 0 || !pidfd_) return;
  if (::syscall(SYS_pidfd_send_signal, pidfd_.get(), signal_number, nullptr, 0) < 0 &&
      errno != ESRCH)
    log_error("{}", Error::from_errno(fmt::format("signal to process {}", pid_)).message());
}

void WorkerProcess::dump_and_kill(int dump_signal, std::uint64_t grace_usec) {
  if (state_ == WorkerState::killed) return;
  state_ = WorkerState::killed;
  signal(dump_signal);
  signal(SIGCONT);  // one that was stopped wakes to write them
  kill_after(grace_usec);
}

void WorkerProcess::kill_after(std::uint64_t grace_usec) {
  const auto kill = [this] {
    was_killed_ = true;
    signal(SIGKILL);
  };
  auto timer = loop_.add_timer(monotonic_usec() + grace_usec, kill);
  if (timer) {
    kill_timer_ = std::move(*timer);
  } else {
    log_error("{}", timer.error().message());
    kill();
  }
}

void WorkerProcess::kill_unless(std::uint64_t grace_usec, std::function<bool()> has_recovered) {
  auto timer =
      loop_.add_timer(monotonic_usec() + grace_usec, [this, recovered = std::move(has_recovered)] {
        if (!recovered()) kill_now();
      });
  if (timer) {
    kill_timer_ = std::move(*timer);
  } else {
    log_error("{}", timer.error().message());
    kill_now();
  }
}

void WorkerProcess::kill_now() {
  state_ = WorkerState::killed;
  was_killed_ = true;
  signal(SIGKILL);
}

void WorkerProcess::forgive(std::uint64_t usec, std::uint64_t latest_drain_usec) {
  forgiven_usec_ += usec;
  if (drain_deadline_usec_ != 0)
    drain_deadline_usec_ = std::min(drain_deadline_usec_ + usec, latest_drain_usec);
}

}  // namespace green::manager
