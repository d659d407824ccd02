// SlotPool: which scoreboard slots are taken. A slot number is a worker's number everywhere
// (status, D-Bus path, journal); the lowest free one is used. greend's thread.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace green::manager {

class SlotPool {
 public:
  explicit SlotPool(std::uint32_t count) : taken_(count, false) {}

  std::optional<std::uint32_t> take() {
    for (std::uint32_t slot = 0; slot < taken_.size(); ++slot) {
      if (taken_[slot]) continue;
      taken_[slot] = true;
      return slot;
    }
    return std::nullopt;
  }
  /// False if it is taken already, or is none.
  bool take(std::uint32_t slot) {
    if (slot >= taken_.size() || taken_[slot]) return false;
    taken_[slot] = true;
    return true;
  }
  void release(std::uint32_t slot) { taken_[slot] = false; }

 private:
  std::vector<bool> taken_;
};

}  // namespace green::manager
