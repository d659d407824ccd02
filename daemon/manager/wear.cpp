#include "daemon/manager/wear.h"

#include <fmt/format.h>

namespace green::manager {
namespace {

/// `base` and up to `jitter` more; 0 stays 0.
std::uint64_t drawn(std::int64_t base, std::int64_t jitter, std::mt19937_64& random) {
  if (base <= 0) return 0;
  std::uniform_int_distribution<std::int64_t> more(0, jitter);
  return static_cast<std::uint64_t>(base + more(random));
}

}  // namespace

WearLimits draw_wear_limits(const Settings& settings, std::mt19937_64& random) {
  return {
      .requests = drawn(settings.max_requests, settings.max_requests_jitter, random),
      .lifetime_usec =
          drawn(settings.max_lifetime.count(), settings.max_lifetime_jitter.count(), random),
      .memory_bytes = static_cast<std::uint64_t>(settings.max_rss),
  };
}

std::string wear_of(const WearLimits& limits, const ScoreboardSlot& slot, std::uint64_t age_usec) {
  const std::uint64_t requests = slot.requests.load(std::memory_order_relaxed);
  if (limits.requests != 0 && requests >= limits.requests)
    return fmt::format("has answered {} requests (max_requests)", requests);
  const std::uint64_t memory = slot.memory_bytes.load(std::memory_order_relaxed);
  if (limits.memory_bytes != 0 && memory > limits.memory_bytes)
    return fmt::format("takes {} MiB (max_rss)", memory >> 20);
  if (limits.lifetime_usec != 0 && age_usec >= limits.lifetime_usec)
    return fmt::format("is {} s old (max_lifetime)", age_usec / 1'000'000);
  return {};
}

}  // namespace green::manager
