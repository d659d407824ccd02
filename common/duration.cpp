#include "common/duration.h"

#include <charconv>
#include <cmath>
#include <cstdint>
#include <string>
#include <utility>

#include "common/text.h"

namespace green {
namespace {

constexpr std::pair<std::string_view, std::int64_t> duration_units[] = {
    {"us", 1}, {"ms", 1000}, {"min", 60'000'000}, {"s", 1'000'000}, {"h", 3'600'000'000}};

std::unexpected<Error> invalid(std::string message) {
  return fail(ErrorCode::configuration, std::move(message));
}

/// Whole microseconds are exact over the full range: what settings_to_toml writes comes back
/// unchanged.
Result<Microseconds> duration_of(std::string_view number, std::int64_t unit) {
  const char* const end = number.data() + number.size();
  std::int64_t whole = 0;
  if (const auto [stop, error] = std::from_chars(number.data(), end, whole);
      error == std::errc{} && stop == end) {
    std::int64_t microseconds = 0;
    if (__builtin_mul_overflow(whole, unit, &microseconds)) return invalid("is too long");
    return Microseconds(microseconds);
  }
  double fraction = 0;
  const auto [stop, error] =
      std::from_chars(number.data(), end, fraction, std::chars_format::fixed);
  if (error != std::errc{} || stop != end) return invalid("");
  return duration_from_seconds(fraction * static_cast<double>(unit) / 1e6);
}

}  // namespace

Result<Microseconds> duration_from_seconds(double seconds) {
  // A hundred years: well inside what 64 bits of µs hold; the setting's own bounds are far smaller.
  if (!(std::fabs(seconds) < 3.2e9)) return invalid("is too long");
  return Microseconds(std::llround(seconds * 1e6));
}

Result<Microseconds> parse_duration(std::string_view text) {
  text = trim(text);
  std::int64_t unit = 1'000'000;
  for (const auto& [suffix, microseconds] : duration_units) {
    if (!text.ends_with(suffix)) continue;
    text = trim(text.substr(0, text.size() - suffix.size()));
    unit = microseconds;
    break;
  }
  auto duration = duration_of(text, unit);
  if (!duration && duration.error().message().empty())
    return invalid("must be a number of seconds, or a number with ms, s, min or h");
  return duration;
}

}  // namespace green
