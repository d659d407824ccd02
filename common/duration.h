// Durations as people write them. Any thread.
#pragma once

#include <chrono>
#include <string_view>

#include "common/result.h"

namespace green {

using Microseconds = std::chrono::microseconds;

/// "30", "1.5" (seconds), "500ms", "30s", "2min", "1h". The error is the bare reason, for a message
/// that names what was being read.
Result<Microseconds> parse_duration(std::string_view text);
Result<Microseconds> duration_from_seconds(double seconds);

}  // namespace green
