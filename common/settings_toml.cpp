// Reads and writes settings as TOML.
#include "common/settings_toml.h"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>
#include <sstream>

#include "common/text.h"

namespace green {
namespace {

std::unexpected<Error> invalid(std::string message) {
  return fail(ErrorCode::configuration, std::move(message));
}

std::string toml_string(std::string_view text) {
  std::ostringstream out;
  const toml::value<std::string> value{text};
  out << toml::toml_formatter{value, toml::format_flags::none};
  return out.str();
}

/// Settings whose value may be shown; a map's never is.
std::string shown(const Setting& setting, const toml::node& node) {
  std::ostringstream out;
  if (setting.is_secret || !node.is_value()) return std::string(setting.name);
  node.visit([&](const auto& value) {
    if constexpr (toml::is_value<decltype(value)>)
      out << toml::toml_formatter{value, toml::format_flags::none};
  });
  return fmt::format("{} = {}", setting.name, printable(out.str()));
}

Result<StringList> read_list(const toml::node& node) {
  if (const auto* text = node.as_string()) return StringList{text->get()};
  constexpr std::string_view expected = "must be a string or an array of strings";
  if (!node.is_array()) return invalid(std::string(expected));
  StringList list;
  for (const toml::node& item : *node.as_array()) {
    if (!item.is_string()) return invalid(std::string(expected));
    list.push_back(item.as_string()->get());
  }
  return list;
}

Result<StringMap> read_map(const toml::node& node) {
  if (!node.is_table()) return invalid(R"(must be a table of strings, such as { NAME = "value" })");
  StringMap map;
  for (const auto& [key, value] : *node.as_table()) {
    if (!value.is_string())
      return invalid(
          fmt::format(R"({} must be a string: put its value in quotes)", printable(key.str())));
    map.emplace(key.str(), value.as_string()->get());
  }
  return map;
}

Result<SettingValue> read_number(const Setting& setting, const toml::node& node) {
  if (const auto* text = node.as_string()) {
    if (setting.type == SettingType::duration || text->get() == "auto")
      return parse_items(setting, {text->get()});
    return invalid(describe_range(setting));
  }
  if (setting.type == SettingType::integer) {
    if (!node.is_integer()) return invalid(describe_range(setting));
    return node.as_integer()->get();
  }
  if (const auto* whole = node.as_integer()) {
    std::int64_t microseconds = 0;
    if (__builtin_mul_overflow(whole->get(), std::int64_t{1'000'000}, &microseconds))
      return invalid(describe_range(setting));
    return Microseconds(microseconds);
  }
  if (const auto* fraction = node.as_floating_point())
    return duration_from_seconds(fraction->get());
  return invalid("must be a number of seconds, or a string with ms, s, min or h");
}

Result<SettingValue> read_value(const Setting& setting, const toml::node& node) {
  switch (setting.type) {
    case SettingType::integer:
    case SettingType::duration:
      return read_number(setting, node);
    case SettingType::string_list:
      return read_list(node);
    case SettingType::string_map:
      return read_map(node);
    case SettingType::choice:
      if (!node.is_string()) return invalid(describe_choices(setting) + ", in quotes");
      break;
    case SettingType::string:
      if (!node.is_string()) return invalid("must be a string in quotes");
      break;
  }
  return node.as_string()->get();
}

/// Whether a line belongs to the settings whose values must not be shown. Errs towards yes: of a
/// table only the next header ends it.
bool is_in_secret_table(std::string_view text, std::uint32_t line) {
  bool is_secret = false;
  for (std::uint32_t number = 1; number <= line && !text.empty(); ++number) {
    const auto end = std::min(text.find('\n'), text.size());
    std::string_view row = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    row.remove_prefix(std::min(row.find_first_not_of(" \t["), row.size()));
    const bool starts_secret = std::ranges::any_of(settings_table(), [row](const Setting& setting) {
      return setting.is_secret && row.starts_with(setting.name);
    });
    const bool starts_other = std::ranges::any_of(settings_table(), [row](const Setting& setting) {
      return !setting.is_secret && row.starts_with(setting.name);
    });
    if (starts_secret)
      is_secret = true;
    else if (starts_other)
      is_secret = false;
  }
  return is_secret;
}

/// What the values are is nobody's business; that they are others than those known is.
void mask(StringMap& values, const StringMap& known) {
  for (auto& [name, value] : values) {
    const auto other = known.find(name);
    value = other != known.end() && other->second == value ? "***" : "*** (another)";
  }
}

}  // namespace

std::string unknown_setting(std::string_view name) {
  const std::string_view nearest = nearest_setting(name);
  if (nearest.empty())
    return fmt::format(R"(unknown setting "{}"; green.toml(5) lists them all)", printable(name));
  return fmt::format(R"(unknown setting "{}"; did you mean "{}"?)", printable(name), nearest);
}

Result<std::vector<TomlEntry>> read_toml(std::string_view text, std::string_view name) {
  toml::table table;
  if (text.find('\0') != std::string_view::npos)
    return invalid(fmt::format("{}: holds a NUL byte: not a TOML file", name));
  try {
    table = toml::parse(text);
  } catch (const toml::parse_error& error) {
    const std::uint32_t line = error.source().begin.line;
    if (is_in_secret_table(text, line))
      return invalid(
          fmt::format("{}:{}: TOML syntax error (not shown: it may hold a secret)", name, line));
    return invalid(
        fmt::format("{}:{}: TOML syntax error: {}", name, line, printable(error.description())));
  }

  struct Row {
    std::string_view key;
    const toml::node* node;
    std::uint32_t line;
  };
  std::vector<Row> rows;
  for (const auto& [key, node] : table) rows.push_back({key.str(), &node, key.source().begin.line});
  std::ranges::stable_sort(rows, {}, &Row::line);

  std::vector<TomlEntry> entries;
  for (const Row& row : rows) {
    const Setting* setting = find_setting(row.key);
    if (setting == nullptr)
      return invalid(fmt::format("{}:{}: {}", name, row.line, unknown_setting(row.key)));
    auto value = read_value(*setting, *row.node);
    if (!value)
      return invalid(fmt::format("{}:{}: {}: {}", name, row.line, shown(*setting, *row.node),
                                 value.error().message()));
    entries.push_back({setting, *std::move(value), row.line});
  }
  return entries;
}

std::string toml_value(const SettingValue& value) {
  if (const auto* text = std::get_if<std::string>(&value)) return toml_string(*text);
  if (const auto* number = std::get_if<std::int64_t>(&value)) return fmt::format("{}", *number);
  if (const auto* duration = std::get_if<Microseconds>(&value)) {
    const std::int64_t count = duration->count();
    if (count % 1'000'000 == 0) return fmt::format("{}", count / 1'000'000);
    return count % 1000 == 0 ? fmt::format("\"{}ms\"", count / 1000)
                             : fmt::format("\"{}us\"", count);
  }
  std::string joined;
  const auto append = [&joined](const std::string& item) {
    joined += (joined.empty() ? "" : ", ") + item;
  };
  if (const auto* list = std::get_if<StringList>(&value)) {
    for (const std::string& item : *list) append(toml_string(item));
    return fmt::format("[{}]", joined);
  }
  for (const auto& [key, text] : std::get<StringMap>(value))
    append(fmt::format("{} = {}", toml_string(key), toml_string(text)));
  return joined.empty() ? "{}" : fmt::format("{{ {} }}", joined);
}

std::string settings_to_toml(const Settings& settings) {
  std::string text;
  for (const Setting& setting : settings_table())
    text += fmt::format("{} = {}\n", setting.name, toml_value(value_of(setting, settings)));
  return text;
}

Result<Settings> settings_from_toml(std::string_view toml) {
  auto entries = read_toml(toml, "settings");
  if (!entries) return fail(std::move(entries).error());
  Settings settings = default_settings();
  for (TomlEntry& entry : *entries) store_value(*entry.setting, std::move(entry.value), settings);
  return settings;
}

std::string describe_settings(const LoadedSettings& loaded, const Settings* compared_with) {
  std::string text;
  for (const Setting& setting : settings_table()) {
    const auto origin = loaded.origins.find(setting.name);
    SettingValue value = value_of(setting, loaded.values);
    if (setting.is_secret)
      mask(std::get<StringMap>(value),
           std::get<StringMap>(value_of(setting, compared_with ? *compared_with : loaded.values)));
    text += fmt::format("{} = {}  # {}\n", setting.name, toml_value(value),
                        origin == loaded.origins.end() ? "default" : printable(origin->second));
  }
  return text;
}

}  // namespace green
