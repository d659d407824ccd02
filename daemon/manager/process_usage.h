// ProcessUsage: memory and CPU time of processes, as /proc tells them. Remembered for a while: who
// asks a thousand times a second costs no more than who asks once. greend's thread.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>

namespace green::manager {

struct Usage {
  std::uint64_t rss_bytes = 0;
  std::uint64_t pss_bytes = 0;
  std::uint64_t cpu_nsec = 0;
};

class ProcessUsage {
 public:
  /// RSS and CPU time are 0.1 s old at most, PSS 10 s: the kernel walks all mappings for it.
  Usage of(pid_t pid, std::uint64_t now_usec);
  template <typename Predicate>
  void keep_only(Predicate is_wanted) {
    std::erase_if(known_, [&](const auto& entry) { return !is_wanted(entry.first); });
  }

 private:
  struct Known {
    Usage usage;
    std::uint64_t read_usec = 0;
    std::uint64_t walked_usec = 0;
  };
  std::map<pid_t, Known> known_;
};

/// From the text of /proc/PID/stat: user and system time; 0: there is none.
std::uint64_t cpu_nsec_of(const char* stat, long ticks_per_second);

}  // namespace green::manager
