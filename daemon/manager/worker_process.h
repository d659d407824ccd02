// WorkerProcess: greend's side of one process of ours, zygote or worker: pid, pidfd, channel,
// state. greend's thread. Decides nothing: what it sees goes to its Generation.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "common/fd.h"
#include "common/worker_channel.h"
#include "daemon/manager/children.h"
#include "daemon/manager/event_loop.h"
#include "daemon/manager/reexec_state.h"
#include "daemon/manager/stack_dump.h"
#include "daemon/manager/wear.h"

namespace green::manager {

enum class WorkerState {
  forking,   ///< asked of the zygote
  starting,  ///< exists, not set up yet
  ready,     ///< waits for serve
  serving,
  draining,
  killed,  ///< SIGKILL is on its way, or was sent
};
std::string_view worker_state_name(WorkerState state);

class WorkerProcess {
 public:
  struct Callbacks {
    std::function<void(ReceivedMessage&)> message;
    std::function<void()> channel_closed;
    std::function<void(const ChildExit&)> exited;
  };

  /// Takes our end of the channel; the process itself may not exist yet.
  WorkerProcess(EventLoop& loop, Children& children, std::uint32_t slot, Fd channel);
  ~WorkerProcess();
  WorkerProcess(const WorkerProcess&) = delete;
  WorkerProcess& operator=(const WorkerProcess&) = delete;

  /// Starts listening on the channel. Only `exited` may destroy this object.
  Result<void> listen(Callbacks callbacks);
  /// The process exists and is our child: opens its pidfd and watches for its end.
  Result<void> adopt(pid_t pid);

  /// What a successor of this greend needs to go on with it. Precondition: it was adopted.
  SavedProcess save() const;
  /// In the successor, after listen(): takes the process over.
  Result<void> resume(const SavedProcess& saved);

  /// Sends a message; a channel that is gone or full is an error (its end is reported separately).
  Result<void> send(MessageType type, std::uint32_t slot = 0);
  Result<void> send_drain(DrainPace pace);
  Result<void> send(const Message& message, std::span<const int> descriptors);

  /// By pidfd: never another process that got the pid.
  void signal(int signal_number);
  /// Asks for a stack dump by `dump_signal`, and kills by SIGKILL `grace_usec` later. Once.
  void dump_and_kill(int dump_signal, std::uint64_t grace_usec);
  void kill_now();
  /// Whether it was sent SIGKILL here.
  bool was_killed() const { return was_killed_; }
  /// All were held up for so long, this process as well: its deadlines move, that of draining no
  /// further than to `latest_drain_usec`.
  void forgive(std::uint64_t usec, std::uint64_t latest_drain_usec);
  /// By how much in all.
  std::uint64_t forgiven_usec() const { return forgiven_usec_; }
  /// SIGKILL after `grace_usec`, unless `has_recovered` by then.
  void kill_unless(std::uint64_t grace_usec, std::function<bool()> has_recovered);
  /// SIGKILL after `grace_usec`, unless it has ended by then.
  void kill_after(std::uint64_t grace_usec);
  void close_channel();
  /// The socket by which it may be asked for stacks; it came with `ready`.
  void set_stacks_socket(Fd socket) { stacks_socket_ = std::move(socket); }
  /// Its Python stacks, or why there are none; once, later, unless this object is gone before.
  Result<void> ask_stacks(StackDump::Done done);
  /// "it is stopped (state T)": why it may not have answered.
  std::string why_silent() const;

  std::uint32_t slot() const { return slot_; }
  pid_t pid() const { return pid_; }
  WorkerState state() const { return state_; }
  void set_state(WorkerState state) { state_ = state; }
  /// µs of CLOCK_REALTIME when adopt() was called.
  std::uint64_t started_realtime_usec() const { return started_realtime_usec_; }
  std::uint64_t started_monotonic_usec() const { return started_monotonic_usec_; }
  /// When this object was made: for a worker, when it was asked of the zygote.
  std::uint64_t created_monotonic_usec() const { return created_monotonic_usec_; }
  /// µs of CLOCK_MONOTONIC; 0: none. Past it a draining worker is killed.
  std::uint64_t drain_deadline_usec() const { return drain_deadline_usec_; }
  void set_drain_deadline(std::uint64_t usec) { drain_deadline_usec_ = usec; }
  /// It said ready before its zygote had said which process it is.
  bool ready_early() const { return ready_early_; }
  void set_ready_early() { ready_early_ = true; }
  const WearLimits& wear_limits() const { return wear_limits_; }
  void set_wear_limits(const WearLimits& limits) { wear_limits_ = limits; }
  /// The heartbeat after which it was given up; 0: it was not.
  std::uint64_t given_up_beat_usec() const { return given_up_beat_usec_; }
  void set_given_up_beat(std::uint64_t usec) { given_up_beat_usec_ = usec; }
  /// It has reached one of them, and is to drain once another serves in its place; then, that it
  /// drains for that.
  bool is_recycled() const { return is_recycled_; }
  /// Somebody asked for that, whatever its limits say.
  bool recycling_is_asked() const { return recycling_is_asked_; }
  void ask_recycling() { recycling_is_asked_ = true; }
  void forget_recycling() { recycling_is_asked_ = false; }
  void set_recycled(bool recycled) { is_recycled_ = recycled; }
  /// True when greend itself decided that this process ends.
  bool expected_to_exit() const {
    return state_ == WorkerState::draining || state_ == WorkerState::killed;
  }

 private:
  void on_readable();
  void watch();

  EventLoop& loop_;
  Children& children_;
  const std::uint32_t slot_;
  const std::uint64_t created_monotonic_usec_;
  Fd channel_;
  Fd pidfd_;
  Fd stacks_socket_;
  pid_t pid_ = 0;
  WorkerState state_ = WorkerState::forking;
  bool ready_early_ = false;
  bool was_killed_ = false;
  bool is_recycled_ = false;
  bool recycling_is_asked_ = false;
  WearLimits wear_limits_;
  std::uint64_t started_realtime_usec_ = 0;
  std::uint64_t started_monotonic_usec_ = 0;
  std::uint64_t drain_deadline_usec_ = 0;
  std::uint64_t given_up_beat_usec_ = 0;
  std::uint64_t forgiven_usec_ = 0;
  Callbacks callbacks_;
  EventSource channel_source_;
  EventSource kill_timer_;
  std::unique_ptr<StackDump> stack_dump_;
};

/// What a zygote is started with.
struct ZygoteSpawn {
  std::string program;  ///< green-worker
  std::string site;
  std::uint64_t generation = 0;
  Fd channel;  ///< its end
};

/// Forks and executes green-worker: clean signals, /dev/null as input, descriptor 3 and nothing
/// else, no variables of the service manager's in the environment. Returns its pid.
Result<pid_t> spawn_zygote(const ZygoteSpawn& spawn);

/// In the build tree green-worker lies beside greend; installed, at its libexec path.
std::string find_worker_program();

/// Of CLOCK_REALTIME.
std::uint64_t realtime_usec();

}  // namespace green::manager
