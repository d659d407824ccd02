// How greenctl writes: tables, JSON, times, colour. Pure functions; text from the daemon is made
// harmless.
#pragma once

#include <chrono>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "common/duration.h"

namespace green::ctl {

enum class JsonStyle { off, pretty, compact };
std::string format_json(const nlohmann::ordered_json& json, JsonStyle style);

struct Column {
  std::string_view title;
  bool is_number = false;  ///< aligned to the right
};
enum class Colour { none, green, yellow, red };

/// Two spaces between columns, no space at a line's end. `colours`: of the rows, or empty.
std::string format_table(const std::vector<Column>& columns,
                         const std::vector<std::vector<std::string>>& rows, bool has_legend = true,
                         const std::vector<Colour>& colours = {});
/// "12.3M", as systemctl writes sizes; "-": not known.
std::string format_size(std::uint64_t bytes);

/// "Sun 2026-11-22 17:13:08 UTC", in local time, of µs of CLOCK_REALTIME.
std::string format_timestamp(std::uint64_t realtime_usec);
/// Two units at most: "3 d 4 h", "2 h 5 min", "1 min 7 s", "12 s", "1.5 s", "30 ms".
std::string format_span(Microseconds span);
/// From then until now; a clock that was set back gives 0.
Microseconds span_between(std::uint64_t then_usec, std::uint64_t now_usec);
/// As format_span(span_between(…)); "-": one of the two is 0.
std::string format_age(std::uint64_t then_usec, std::uint64_t now_usec);
/// In µs; 0 where it is not at all, null where the time now is not known.
nlohmann::ordered_json json_age(std::uint64_t then_usec, std::uint64_t now_usec);
std::uint64_t realtime_usec();
std::uint64_t monotonic_now_usec();

/// Several lines of foreign text for a terminal: control characters but newline and tab are
/// escaped.
std::string harmless(std::string_view text);

std::string paint(std::string_view text, Colour colour, bool is_enabled);
/// A terminal that can, and no NO_COLOR (https://no-color.org).
bool wants_colour(int descriptor);

}  // namespace green::ctl
