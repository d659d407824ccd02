// RestartBackoff: how long to wait before a dead worker's replacement is started. No thread, no
// clock of its own: times are µs of CLOCK_MONOTONIC, passed in.
//
// A death is replaced at once as long as deaths are rare: a bucket of `burst` free restarts refills
// by one every `refill_usec`. With the bucket empty, waits double from 1 s to 30 s until it has
// refilled by half.
#pragma once

#include <algorithm>
#include <cstdint>

namespace green::manager {

class RestartBackoff {
 public:
  static constexpr std::uint64_t first_delay_usec = 1'000'000;
  static constexpr std::uint64_t longest_delay_usec = 30'000'000;
  static constexpr std::uint64_t refill_usec = 2'000'000;

  /// Counts a death and returns how long to wait before its replacement: 0, or the back-off.
  std::uint64_t on_death(std::uint64_t now_usec, std::uint32_t target_workers) {
    const std::uint32_t burst = std::max<std::uint32_t>(16, 4 * target_workers);
    refill(now_usec, burst);
    if (free_restarts_ > 0) {
      --free_restarts_;
      return 0;
    }
    const std::uint64_t delay =
        delay_usec_ == 0 ? first_delay_usec : std::min(delay_usec_ * 2, longest_delay_usec);
    // Deaths of one moment share one wait: only a death after it doubles the wait.
    if (now_usec < waiting_until_usec_) return waiting_until_usec_ - now_usec;
    delay_usec_ = delay;
    waiting_until_usec_ = now_usec + delay;
    // What refills while we wait is not spare time gained.
    refilled_at_usec_ = waiting_until_usec_;
    return delay;
  }

  /// True while restarts are being held back.
  bool backing_off(std::uint64_t now_usec) const { return now_usec < waiting_until_usec_; }

 private:
  void refill(std::uint64_t now_usec, std::uint32_t burst) {
    if (!started_) {
      started_ = true;
      free_restarts_ = burst;
      refilled_at_usec_ = now_usec;
      return;
    }
    if (now_usec <= refilled_at_usec_) return;
    const std::uint64_t gained = (now_usec - refilled_at_usec_) / refill_usec;
    // In back-off, single restarts gained between waits do not end it: half a bucket of quiet does.
    if (delay_usec_ != 0 && gained < burst / 2) return;
    delay_usec_ = 0;
    refilled_at_usec_ += gained * refill_usec;
    free_restarts_ =
        static_cast<std::uint32_t>(std::min<std::uint64_t>(burst, free_restarts_ + gained));
  }

  bool started_ = false;
  std::uint32_t free_restarts_ = 0;
  std::uint64_t refilled_at_usec_ = 0;
  std::uint64_t delay_usec_ = 0;
  std::uint64_t waiting_until_usec_ = 0;
};

}  // namespace green::manager
