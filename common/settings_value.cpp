// Reads, stores and shows values of settings.
#include "common/settings_value.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <utility>

namespace green {
namespace {

constexpr std::pair<std::string_view, std::int64_t> duration_units[] = {
    {"us", 1}, {"ms", 1000}, {"min", 60'000'000}, {"s", 1'000'000}, {"h", 3'600'000'000}};

std::string_view trim(std::string_view text) {
  const auto first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

std::unexpected<Error> invalid(std::string message) {
  return fail(ErrorCode::configuration, std::move(message));
}

Result<std::int64_t> parse_integer(const Setting& setting, std::string_view text) {
  if (setting.automatic != nullptr && text == "auto") return setting.automatic();
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || error != std::errc{} || end != text.data() + text.size())
    return invalid(describe_range(setting));
  return number;
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

Result<StringMap> parse_map(const StringList& items) {
  StringMap map;
  for (const std::string& item : items) {
    const auto equals = item.find('=');
    // The entry itself is not shown: it may be a secret that lost its name.
    if (equals == std::string::npos) return invalid("each entry must be NAME=VALUE");
    map[item.substr(0, equals)] = item.substr(equals + 1);
  }
  return map;
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

Result<SettingValue> parse_items(const Setting& setting, const StringList& items) {
  for (const std::string& item : items)
    if (!is_valid_utf8(item)) return invalid("must be UTF-8 text without NUL bytes");
  if (setting.type == SettingType::string_list) return items;
  if (setting.type == SettingType::string_map) return parse_map(items);
  if (items.size() > 1) return invalid("was given more than once");
  const std::string text = items.empty() ? std::string() : items.front();
  if (setting.type == SettingType::integer) return parse_integer(setting, trim(text));
  if (setting.type == SettingType::duration) return parse_duration(text);
  return text;
}

StringList split_items(const Setting& setting, std::string_view text) {
  if (setting.type != SettingType::string_list && setting.type != SettingType::string_map)
    return {std::string(text)};
  StringList items;
  while (!text.empty()) {
    const auto comma = text.find(',');
    if (const auto item = trim(text.substr(0, comma)); !item.empty()) items.emplace_back(item);
    text.remove_prefix(comma == std::string_view::npos ? text.size() : comma + 1);
  }
  return items;
}

void store_value(const Setting& setting, SettingValue value, Settings& settings) {
  std::visit(
      [&](auto member) {
        using Value = std::remove_reference_t<decltype(settings.*member)>;
        settings.*member = std::get<Value>(std::move(value));
      },
      setting.member);
}

SettingValue value_of(const Setting& setting, const Settings& settings) {
  return std::visit([&](auto member) -> SettingValue { return settings.*member; }, setting.member);
}

std::string describe_range(const Setting& setting) {
  if (setting.type == SettingType::duration)
    return fmt::format("must be between {} and {} seconds", setting.minimum, setting.maximum);
  return fmt::format("must be a whole number between {} and {}{}", setting.minimum, setting.maximum,
                     setting.automatic == nullptr ? "" : ", or auto");
}

std::string describe_choices(const Setting& setting) {
  std::string text = "must be ";
  const auto last = setting.choices.rfind('|');
  for (std::size_t i = 0; i < setting.choices.size(); ++i) {
    if (setting.choices[i] != '|')
      text += setting.choices[i];
    else
      text += i == last ? " or " : ", ";
  }
  return text;
}

bool is_valid_utf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    if (lead == 0) return false;
    const std::size_t length = lead < 0x80   ? 1
                               : lead < 0xC2 ? 0
                               : lead < 0xE0 ? 2
                               : lead < 0xF0 ? 3
                                             : 4;
    if (length == 0 || lead > 0xF4 || text.size() - i < length) return false;
    for (std::size_t k = 1; k < length; ++k)
      if ((static_cast<unsigned char>(text[i + k]) & 0xC0) != 0x80) return false;
    const auto second = length > 1 ? static_cast<unsigned char>(text[i + 1]) : 0;
    // Overlong forms, surrogates, and beyond U+10FFFF.
    if ((lead == 0xE0 && second < 0xA0) || (lead == 0xED && second > 0x9F) ||
        (lead == 0xF0 && second < 0x90) || (lead == 0xF4 && second > 0x8F))
      return false;
    i += length;
  }
  return true;
}

std::string printable(std::string_view text) {
  constexpr std::size_t longest = 100;
  std::string shown;
  for (const char c : text.substr(0, longest)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7F)
      shown += fmt::format("\\x{:02x}", byte);
    else
      shown += c;
  }
  if (text.size() > longest) shown += "…";
  return shown;
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
  // Rows of the usual table; `before` is two rows up, for swapped neighbours.
  std::vector<std::size_t> before, above(b.size() + 1), row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) above[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      row[j] =
          std::min({above[j] + 1, row[j - 1] + 1, above[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        row[j] = std::min(row[j], before[j - 2] + 1);
    }
    before = above;
    above = row;
  }
  return above[b.size()];
}

}  // namespace green
