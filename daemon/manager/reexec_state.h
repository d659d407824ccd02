// What a greend hands to its successor when it executes it in its own process: SavedState, as JSON
// in a memfd. Descriptors travel by number: they stay open across the execution. The format and the
// protocol of the workers that live on are numbered; a state of another number is refused. greend's
// thread.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"

namespace green::manager {

/// Raised when SavedState changes in a way that an older greend's state can't be read as.
inline constexpr std::uint32_t reexec_format = 1;

/// A zygote or a worker.
struct SavedProcess {
  pid_t pid = 0;
  int pidfd = -1;
  int channel = -1;  ///< -1: closed already
  int stacks = -1;   ///< its stacks socket; -1: it has none
  std::uint32_t slot = 0;
  std::string state;  ///< worker_state_name()
  std::uint64_t started_realtime_usec = 0;
  std::uint64_t started_monotonic_usec = 0;
  std::uint64_t drain_deadline_usec = 0;
  bool operator==(const SavedProcess&) const = default;
};

struct SavedGeneration {
  std::uint64_t number = 0;
  bool serves = false;   ///< else it drains
  std::string settings;  ///< TOML
  std::uint32_t worker_count = 0;
  std::uint64_t past_requests = 0;
  std::uint64_t deaths = 0;
  std::optional<SavedProcess> zygote;
  std::vector<SavedProcess> workers;
  bool operator==(const SavedGeneration&) const = default;
};

struct SavedListener {
  int fd = -1;
  std::string address;
  std::string unlink_path;
  bool operator==(const SavedListener&) const = default;
};

struct SavedJob {
  std::uint32_t id = 0;
  std::uint32_t workers = 0;  ///< of a scaling
  bool operator==(const SavedJob&) const = default;
};

struct SavedState {
  std::string version;  ///< of the greend that wrote it
  std::string site;
  bool sockets_from_systemd = false;
  std::vector<SavedListener> listeners;
  int scoreboard = -1;
  std::uint32_t slot_count = 0;
  std::uint32_t target_workers = 0;
  std::uint64_t last_generation = 0;
  std::uint32_t last_job = 0;
  std::uint32_t reexec_job = 0;
  std::optional<SavedJob> scale_job;
  std::uint64_t started_realtime_usec = 0;
  std::uint64_t started_monotonic_usec = 0;  ///< 0: by a greend that did not tell
  std::uint64_t last_reload_realtime_usec = 0;
  std::string last_reload_result;
  std::uint64_t past_requests = 0;
  std::uint64_t past_deaths = 0;
  std::map<std::string, std::string> origins;  ///< of the settings that serve; empty: not told
  std::vector<SavedGeneration> generations;    ///< one of them serves
  bool operator==(const SavedState&) const = default;

  /// Every descriptor named above.
  std::vector<int> descriptors() const;
};

std::string write_saved_state(const SavedState& state);
/// Errors name what is wrong, in one line: no JSON, another format or protocol, a field that is
/// missing or of another type, no generation that serves.
Result<SavedState> read_saved_state(std::string_view text);
/// Of a memfd as write_saved_state() filled it.
Result<SavedState> read_saved_state(int fd);

}  // namespace green::manager
