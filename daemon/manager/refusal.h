// What clients get from a site that can't start: a bounded spell of 503 answers. greend's thread.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "daemon/manager/listen_fds.h"

namespace green::manager {

struct Refusal {
  std::chrono::milliseconds duration{};
  std::string text{};  ///< a line that clients read
  /// What Retry-After says at least; else it is what is left of the spell.
  std::chrono::seconds retry_after{2};
  /// Called at the beginning and then every second, with what is left of the spell.
  std::function<void(std::chrono::seconds left)> each_second{};
};

enum class RefusalEnd { time_is_up, stopped };

/// Answers 503 (RFC 9110, 15.6.4) to whoever connects, for a while, and hears those out (1 s at
/// most) who came last. With no trigger limit on the socket unit one waiting connection would
/// otherwise start us again at once, for ever; so this also bounds how often a broken site is
/// started. Blocks; ends early on SIGTERM, SIGINT or SIGQUIT.
RefusalEnd refuse_clients(const std::vector<Listener>& listeners, const Refusal& refusal);

}  // namespace green::manager
