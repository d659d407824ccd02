// Wear: how far a worker may go before it is recycled, and whether it has. Limits are drawn once a
// worker, with the settings' jitter, so that workers of one age do not all go at once. greend's
// thread.
#pragma once

#include <cstdint>
#include <random>
#include <string>

#include "common/scoreboard.h"
#include "common/settings.h"

namespace green::manager {

struct WearLimits {
  std::uint64_t requests = 0;       ///< 0: any number
  std::uint64_t lifetime_usec = 0;  ///< 0: any
  std::uint64_t memory_bytes = 0;   ///< 0: any
};

WearLimits draw_wear_limits(const Settings& settings, std::mt19937_64& random);

/// Which limit a worker of this age has reached, for the log: "has answered 1012 requests
/// (max_requests)"; empty: none.
std::string wear_of(const WearLimits& limits, const ScoreboardSlot& slot, std::uint64_t age_usec);

}  // namespace green::manager
