// Whole small replies that wait until the requests that arrived with them are answered too: sent
// one behind the other, they cost the machine less, and the application runs undisturbed meanwhile.
// None waits for an application that takes its time: a thread of this class sends what has waited
// too long, and a handler what a crash would lose. Loop thread, but where said otherwise.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

#include "daemon/http/reactor.h"
#include "daemon/http/response_writer.h"

namespace green::http {

class HeldReplyOwner {
 public:
  /// What is left to send of the reply; empty: nothing. It is held no more.
  virtual void send_held(std::string_view rest) = 0;

 protected:
  ~HeldReplyOwner() = default;
};

class HeldReplies final : Deferred {
 public:
  /// A longer reply is worth a system call of its own.
  static constexpr std::size_t largest_reply = 16 << 10;
  /// An application that takes longer is sent from at once: its next call may take as long.
  static constexpr std::uint64_t quick_call_usec = 500;
  /// From then on what is held leaves before the next call.
  static constexpr std::uint64_t longest_hold_usec = 500;
  /// How often the thread looks: during a call, nothing is held for more than twice of it.
  static constexpr std::chrono::milliseconds patience{4};

  explicit HeldReplies(Reactor& reactor) : reactor_(reactor) {}
  ~HeldReplies() override;

  /// Whether a reply of `size` bytes may wait, from within a call that began at `call_began_usec`:
  /// others wait for theirs in this turn, and the call was quick.
  bool may_hold(std::size_t size, std::uint64_t call_began_usec) const;
  /// The same, from within a step of a call that an outer loop (asyncio's) takes: others that were
  /// announced are to begin.
  bool may_hold_in_step(std::size_t size, std::uint64_t step_began_usec) const;
  /// Until the turn ends at the latest. The frame is copied.
  void hold(HeldReplyOwner& owner, int socket, const Frame& frame);
  /// Before the application is called, at `now_usec`.
  void before_call(std::uint64_t now_usec) {
    if (count_.load(std::memory_order_relaxed) != 0 &&
        now_usec - first_held_usec_ > longest_hold_usec)
      release();
  }
  /// An outer loop is to begin a call before the reactor's next turn; later on nobody waits for it.
  /// step_begins() follows for it, or call_dropped(), with what this returns, which is never 0.
  std::uint64_t announce_call();
  /// The call will not begin, or has begun within the turn.
  void call_dropped(std::uint64_t announced);
  /// Before each step, by the reactor's clock; `announced` 0: not the first one of its call.
  void step_begins(std::uint64_t announced);
  /// The owner's socket is about to be closed: it gets what it takes of the reply, if any waits.
  void let_go(const HeldReplyOwner& owner);

  /// Async-signal-safe, any thread: gives the kernel what the process holds. For a process that is
  /// about to die; in one that was forked from it: nothing.
  static void send_all_from_handler();

 private:
  enum class State : std::uint8_t { held, sending, taken };
  struct Slot {
    std::atomic<State> state{State::taken};
    int socket = -1;
    HeldReplyOwner* owner = nullptr;
    std::string bytes;
    std::size_t sent = 0;  ///< by others than the loop thread
  };

  void run_deferred() override { release(); }
  bool has_room_for(std::size_t size) const;
  bool awaits_call() const {
    return announced_ > 0 && announced_in_turn_ == reactor_.turn_number();
  }
  void release();
  static void send_unclaimed(Slot& slot);
  void send_unclaimed();
  void wake_thread();
  void watch(const std::stop_token& stop);

  Reactor& reactor_;
  std::array<Slot, 64> slots_;
  std::atomic<std::size_t> count_{0};  ///< slots in use: of these the first
  std::uint64_t first_held_usec_ = 0;
  std::size_t announced_ = 0;  ///< calls that are to begin, of those of a turn
  std::uint64_t announced_in_turn_ = 0;

  /// Held by the thread while it sends: who finds a slot `sending` waits for it.
  std::mutex mutex_;
  std::condition_variable_any news_;
  std::atomic<bool> thread_watches_{false};
  std::atomic<std::uint32_t> turns_{0};  ///< in which something was held
  std::jthread thread_;
};

}  // namespace green::http
