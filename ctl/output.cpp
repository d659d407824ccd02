#include "ctl/output.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <nlohmann/json.hpp>

#include "common/text.h"

namespace green::ctl {
namespace {

std::uint64_t clock_usec(clockid_t clock) {
  timespec now{};
  ::clock_gettime(clock, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000 +
         static_cast<std::uint64_t>(now.tv_nsec) / 1000;
}

/// Characters, not bytes; good enough for the names that stand in our tables.
std::size_t width_of(std::string_view text) {
  return static_cast<std::size_t>(std::ranges::count_if(
      text, [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

}  // namespace

std::string format_json(const nlohmann::ordered_json& json, JsonStyle style) {
  return json.dump(style == JsonStyle::compact ? -1 : 2, ' ', false,
                   nlohmann::ordered_json::error_handler_t::replace) +
         "\n";
}

std::string format_table(const std::vector<Column>& columns,
                         const std::vector<std::vector<std::string>>& rows, bool has_legend,
                         const std::vector<Colour>& colours) {
  std::vector<std::size_t> widths;
  for (std::size_t i = 0; i < columns.size(); ++i) {
    std::size_t width = has_legend ? width_of(columns[i].title) : 0;
    for (const auto& row : rows) width = std::max(width, width_of(row.at(i)));
    widths.push_back(width);
  }
  std::string table;
  const auto append = [&](const auto& cell_of, Colour colour) {
    std::string line;
    for (std::size_t i = 0; i < columns.size(); ++i) {
      const std::string_view cell = cell_of(i);
      const std::string padding(widths[i] - width_of(cell), ' ');
      line += i == 0 ? "" : "  ";
      line += columns[i].is_number ? padding + std::string(cell) : std::string(cell) + padding;
    }
    line.erase(line.find_last_not_of(' ') + 1);
    table += paint(line, colour, true) + "\n";
  };
  if (has_legend) append([&](std::size_t i) { return columns[i].title; }, Colour::none);
  for (std::size_t row = 0; row < rows.size(); ++row)
    append([&](std::size_t i) { return std::string_view(rows[row][i]); },
           row < colours.size() ? colours[row] : Colour::none);
  return table;
}

std::string format_size(std::uint64_t bytes) {
  if (bytes == 0) return "-";
  auto size = static_cast<double>(bytes);
  const char* unit = "B";
  for (const char* const next : {"K", "M", "G", "T"}) {
    if (size < 1024) break;
    size /= 1024;
    unit = next;
  }
  return fmt::format("{:.1f}{}", size, unit);
}

std::string format_timestamp(std::uint64_t realtime) {
  const auto seconds = static_cast<std::time_t>(realtime / 1'000'000);
  std::tm local{};
  if (::localtime_r(&seconds, &local) == nullptr) return "-";
  char text[64];
  const std::size_t length = std::strftime(text, sizeof(text), "%a %Y-%m-%d %H:%M:%S %Z", &local);
  return {text, length};
}

std::string format_span(Microseconds span) {
  const std::int64_t milliseconds = span.count() / 1000;
  const std::int64_t seconds = milliseconds / 1000;
  if (seconds == 0) return fmt::format("{} ms", milliseconds);
  if (seconds < 10 && milliseconds % 1000 >= 100)
    return fmt::format("{}.{} s", seconds, milliseconds % 1000 / 100);
  constexpr struct {
    std::int64_t seconds;
    const char* name;
  } units[] = {{86400, "d"}, {3600, "h"}, {60, "min"}, {1, "s"}};
  for (std::size_t i = 0; i < std::size(units); ++i) {
    if (seconds < units[i].seconds) continue;
    std::string text = fmt::format("{} {}", seconds / units[i].seconds, units[i].name);
    if (i + 1 < std::size(units))
      if (const auto rest = seconds % units[i].seconds / units[i + 1].seconds; rest != 0)
        text += fmt::format(" {} {}", rest, units[i + 1].name);
    return text;
  }
  return "0 s";
}

Microseconds span_between(std::uint64_t then_usec, std::uint64_t now_usec) {
  return Microseconds(now_usec > then_usec ? static_cast<std::int64_t>(now_usec - then_usec) : 0);
}

std::string format_age(std::uint64_t then_usec, std::uint64_t now_usec) {
  if (then_usec == 0 || now_usec == 0) return "-";
  return format_span(span_between(then_usec, now_usec));
}

nlohmann::ordered_json json_age(std::uint64_t then_usec, std::uint64_t now_usec) {
  if (then_usec == 0) return 0;
  if (now_usec == 0) return nullptr;
  return span_between(then_usec, now_usec).count();
}

std::uint64_t realtime_usec() { return clock_usec(CLOCK_REALTIME); }
std::uint64_t monotonic_now_usec() { return clock_usec(CLOCK_MONOTONIC); }

std::string harmless(std::string_view text) {
  std::string shown;
  while (!text.empty()) {
    const auto end = text.find_first_of("\n\t");
    shown += printable(text.substr(0, end), std::string_view::npos);
    if (end == std::string_view::npos) break;
    shown += text[end];
    text.remove_prefix(end + 1);
  }
  return shown;
}

std::string paint(std::string_view text, Colour colour, bool is_enabled) {
  if (!is_enabled || colour == Colour::none) return std::string(text);
  const char* const code = colour == Colour::green ? "32" : colour == Colour::yellow ? "33" : "31";
  return fmt::format("\x1b[{}m{}\x1b[0m", code, text);
}

bool wants_colour(int descriptor) {
  const char* const no_colour = std::getenv("NO_COLOR");
  const char* const terminal = std::getenv("TERM");
  const bool is_refused = no_colour != nullptr && *no_colour != '\0';
  const bool can = terminal != nullptr && std::string_view(terminal) != "dumb";
  return ::isatty(descriptor) == 1 && !is_refused && can;
}

}  // namespace green::ctl
