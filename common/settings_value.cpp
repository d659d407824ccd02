// Reads, stores and shows values of settings.
#include "common/settings_value.h"

#include <fmt/format.h>

#include <charconv>
#include <utility>

#include "common/text.h"

namespace green {
namespace {

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

Result<SettingValue> parse_items(const Setting& setting, const StringList& items) {
  for (const std::string& item : items)
    if (!is_valid_utf8(item)) return invalid("must be UTF-8 text without NUL bytes");
  if (setting.type == SettingType::string_list) return items;
  if (setting.type == SettingType::string_map) return parse_map(items);
  if (items.size() > 1) return invalid("was given more than once");
  std::string text = items.empty() ? std::string() : items.front();
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

}  // namespace green
