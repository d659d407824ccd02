// The scoreboard: shared memory (memfd) in which each worker says what it does, lock-free and
// without a system call, and where greend can read it even when the worker is stuck. Written by the
// slot's worker; `request_limit` and the header by greend alone. Any thread may read.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "common/fd.h"
#include "common/result.h"

namespace green {

enum class WorkerActivity : std::uint32_t { none = 0, starting, idle, busy, draining };

/// One worker's slot: cache lines of its own.
struct alignas(64) ScoreboardSlot {
  /// CLOCK_MONOTONIC of the loop's last turn, or of the start of the call that holds it up.
  std::atomic<std::uint64_t> heartbeat_usec;
  /// CLOCK_MONOTONIC at the start of the oldest call; 0: no request in the application. Equal to
  /// the heartbeat: the call holds up the loop, and the request noted below is its own.
  std::atomic<std::uint64_t> busy_since_usec;
  std::atomic<std::uint64_t> requests;     ///< answered since this worker's start
  std::atomic<std::uint64_t> accepted;     ///< connections accepted
  std::atomic<std::uint32_t> connections;  ///< open now
  std::atomic<std::uint32_t> in_flight;    ///< requests read but not yet fully answered
  std::atomic<WorkerActivity> activity;
  std::atomic<std::uint32_t> pid;
  std::atomic<std::uint64_t> generation;
  /// What the worker takes (proportional set size), or a bound on it that is within `max_rss`.
  /// Measured only where that is set.
  std::atomic<std::uint64_t> memory_bytes;
  /// After so many requests the worker says that it is due; 0: never. greend's.
  std::atomic<std::uint64_t> request_limit;
  /// Address of the latest request's client, NUL-terminated unless it fills it; empty: a unix
  /// socket's.
  std::array<std::atomic<std::uint64_t>, 5> client;
  /// Method and path of the latest request, NUL-terminated: see common/request_note.h.
  std::array<std::atomic<std::uint64_t>, 24> request;
};
static_assert(sizeof(ScoreboardSlot) == 320);

struct alignas(64) ScoreboardHeader {
  /// Workers accept only while this is their generation: a reload switches all of them with one
  /// store.
  std::atomic<std::uint64_t> serving_generation;
  /// While a rolling reload is under way, the new generation, which accepts beside the other; else
  /// 0.
  std::atomic<std::uint64_t> joining_generation;
  /// Slots from this one on were never given to a worker. Grows only.
  std::atomic<std::uint32_t> used_slots;
};

/// A mapping of the scoreboard. greend creates it; workers map the descriptor they were passed.
class Scoreboard {
 public:
  static Result<Scoreboard> create(std::uint32_t slot_count);
  static Result<Scoreboard> map(Fd fd, std::uint32_t slot_count);
  Scoreboard(Scoreboard&&) noexcept;
  Scoreboard& operator=(Scoreboard&&) noexcept;
  ~Scoreboard();

  ScoreboardHeader& header() const;
  /// Precondition: index < slot_count().
  ScoreboardSlot& slot(std::uint32_t index) const;
  std::uint32_t slot_count() const { return slot_count_; }
  int fd() const { return fd_.get(); }

  /// Clears a slot for its next worker. greend's.
  void reset_slot(std::uint32_t index, std::uint64_t generation) const;

 private:
  Scoreboard(Fd fd, void* memory, std::uint32_t slot_count);
  Fd fd_;
  void* memory_ = nullptr;
  std::uint32_t slot_count_ = 0;
};

/// CLOCK_MONOTONIC in µs: the scoreboard's and sd-event's clock.
std::uint64_t monotonic_usec();

}  // namespace green
