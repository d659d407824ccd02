// OomKills: what the kernel says about processes of greend's control group that it killed for want
// of memory. greend's thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace green::manager {

class OomKills {
 public:
  /// `events_path`: a memory.events file of cgroup v2; one that can't be read is no error.
  explicit OomKills(std::string events_path);
  /// Of the control group that this process is in.
  static OomKills of_this_process();

  /// A process was killed by SIGKILL, and not by us: what is known of why, for the log. Each kill
  /// that the kernel counts explains one death.
  std::string explain_kill();

 private:
  std::optional<std::uint64_t> read_count() const;

  std::string path_;
  std::optional<std::uint64_t> explained_;  ///< of the kernel's count
};

}  // namespace green::manager
