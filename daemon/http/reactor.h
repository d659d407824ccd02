// The event loop: one epoll descriptor, coarse timeouts, deferred work. One thread, the loop
// thread.
#pragma once

#include <sys/epoll.h>

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "common/fd.h"
#include "common/result.h"
#include "daemon/http/timeout_list.h"

namespace green::http {

/// Told about a descriptor's readiness (EPOLLIN, …).
class EventHandler {
 public:
  virtual void on_events(std::uint32_t events) = 0;
  /// Where several are ready at once, each is told so before on_events() of the first: time for
  /// what is better done for all of them in one go. Removes no handler.
  virtual void before_events(std::uint32_t events) { static_cast<void>(events); }

 protected:
  ~EventHandler() = default;
};

/// Work that runs on the next turn, before the loop can block. Deferring twice runs once;
/// destruction cancels it.
class Deferred {
 public:
  Deferred() = default;
  Deferred(const Deferred&) = delete;
  Deferred& operator=(const Deferred&) = delete;

 protected:
  virtual ~Deferred();
  virtual void run_deferred() = 0;

 private:
  friend class Reactor;
  class Reactor* queued_in_ = nullptr;
};

enum class Priority { normal, urgent };

/// Whether the loop turns at once for the sake of what is deferred, or that waits for the next
/// turn, whatever that is for: at most as long as a turn may block.
enum class Defer { wake, wait };

class Reactor {
 public:
  using Wait = std::function<void()>;

  static Result<std::unique_ptr<Reactor>> create();
  ~Reactor();
  Reactor(const Reactor&) = delete;
  Reactor& operator=(const Reactor&) = delete;

  /// The handler must outlive its registration. `urgent` ones are told before the others of a turn.
  Result<void> add(int fd, std::uint32_t events, EventHandler& handler,
                   Priority priority = Priority::normal);
  Result<void> modify(int fd, std::uint32_t events, EventHandler& handler,
                      Priority priority = Priority::normal);
  /// Also drops what this turn still had for the handler. A descriptor closed behind our back is
  /// fine.
  void remove(int fd, EventHandler& handler);

  void defer(Deferred& work, Defer how = Defer::wake);
  /// Of the loop's turns, the number of this one.
  std::uint64_t turn_number() const { return turn_number_; }
  /// From within on_events(): others wait for theirs in this turn.
  bool has_more_events() const { return batch_next_ < batch_count_; }

  using TimerId = std::uint64_t;
  /// One-shot; for the few timers of a process (connections use timeout lists). Never 0.
  TimerId call_after(std::chrono::microseconds delay, std::function<void()> callback);
  void cancel(TimerId id);

  /// The list is checked every turn until removed; must outlive that.
  void add_timeouts(TimeoutList& list);
  void remove_timeouts(TimeoutList& list);

  /// How to block: `wrapper` must call its argument exactly once (releasing the GIL around it).
  void set_blocking_wait(std::function<void(const Wait&)> wrapper);
  /// Called on every turn with CLOCK_MONOTONIC in µs (the heartbeat), and the longest a turn may
  /// block, so that it is called at least that often.
  void set_turn_callback(std::function<void(std::uint64_t now_usec)> callback,
                         std::chrono::microseconds longest_wait = std::chrono::seconds(1));

  /// Turns until stop() (success) or until the loop cannot go on: epoll itself broken (an
  /// application that closes descriptors), or fail().
  Result<void> run();
  /// One turn. `may_block` false: handles what is ready. For a loop inside another (asyncio), with
  /// fd().
  Result<void> turn(bool may_block);
  void stop() { stopped_ = true; }
  bool stopped() const { return stopped_; }
  /// Ends run() with `error`; the first one counts.
  void fail(Error error);

  /// CLOCK_MONOTONIC in µs, as of the turn's start or the last refresh_now().
  std::uint64_t now_usec() const { return now_usec_; }
  /// Before what happens outside of a turn looks at the time, and after what took its time in one.
  /// What has expired is told as of the turn's start all the same: what came meanwhile comes first.
  void refresh_now();
  /// When a turn is due even if nothing becomes ready; nullopt: never.
  std::optional<std::uint64_t> next_deadline() const;
  /// The same, and for the turn callback's sake: of now_usec(), for no other clock is read.
  std::uint64_t next_turn_due() const;
  int fd() const { return epoll_.get(); }

 private:
  friend class Deferred;
  explicit Reactor(Fd epoll);

  struct Timer {
    TimerId id;
    std::uint64_t deadline_usec;
    std::function<void()> callback;
  };

  int wait_timeout_msec() const;
  Result<int> wait(bool may_block);
  void dispatch(int count);
  void run_deferred();
  void run_timers(std::uint64_t now_usec);

  Fd epoll_;
  std::array<epoll_event, 128> batch_{};
  int batch_next_ = 0;
  int batch_count_ = 0;
  std::uint64_t now_usec_ = 0;
  std::uint64_t turn_number_ = 0;
  bool stopped_ = false;
  std::optional<Error> failure_;

  std::vector<Deferred*> deferred_;
  std::vector<Deferred*> running_deferred_;
  bool is_deferred_work_due_ = false;
  std::vector<Timer> timers_;
  TimerId last_timer_ = 0;
  std::vector<TimeoutList*> timeout_lists_;

  std::function<void(const Wait&)> blocking_wait_;
  Wait block_;  ///< the epoll_wait that blocking_wait_ wraps; made once
  int block_timeout_msec_ = 0;
  int block_result_ = 0;
  int block_errno_ = 0;
  std::function<void(std::uint64_t)> turn_callback_;
  std::chrono::microseconds longest_wait_ = std::chrono::seconds(1);
};

}  // namespace green::http
