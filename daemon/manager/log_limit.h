// LogLimit: how many messages of one kind the log is given: so many in each interval; the rest is
// counted. greend's thread.
#pragma once

#include <cstdint>
#include <utility>

namespace green::manager {

class LogLimit {
 public:
  static constexpr std::uint32_t burst = 20;
  static constexpr std::uint64_t interval_usec = 10'000'000;

  /// True if this one may be logged; else it is counted.
  bool admits(std::uint64_t now_usec) {
    if (now_usec >= interval_end_usec_) {
      interval_end_usec_ = now_usec + interval_usec;
      admitted_ = 0;
    }
    if (admitted_ < burst) {
      ++admitted_;
      return true;
    }
    ++held_back_;
    return false;
  }

  /// How many were held back; 0 while their interval goes on.
  std::uint64_t take_held_back(std::uint64_t now_usec) {
    return now_usec < interval_end_usec_ ? 0 : take_held_back();
  }
  std::uint64_t take_held_back() { return std::exchange(held_back_, 0); }

 private:
  std::uint64_t interval_end_usec_ = 0;
  std::uint32_t admitted_ = 0;
  std::uint64_t held_back_ = 0;
};

}  // namespace green::manager
