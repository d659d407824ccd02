// MemoryUse: what this process takes of the machine's memory, for max_rss. Loop thread.
#pragma once

#include <cstdint>

namespace green::worker {

class MemoryUse {
 public:
  /// Walking a process's mappings takes milliseconds where there are gigabytes.
  static constexpr std::uint64_t walk_interval_usec = 10'000'000;

  /// Bytes. The resident set is looked up first, which costs microseconds: within `limit` it is the
  /// answer. Beyond, pages that are shared (with the zygote and the other workers) count in
  /// proportion: the proportional set size, looked up every ten seconds at most and in between the
  /// same as before. Where the kernel does not tell it, the resident set is all there is to go by.
  std::uint64_t measure(std::uint64_t limit, std::uint64_t now_usec);

 private:
  std::uint64_t walked_usec_ = 0;
  std::uint64_t proportional_ = 0;
};

/// From the text of /proc/PID/smaps_rollup: bytes of its Pss line; 0: there is none.
std::uint64_t proportional_set_size(const char* smaps_rollup);

}  // namespace green::worker
