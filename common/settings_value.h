// The value of one setting, apart from where it came from: reading it from text, checking it,
// storing it, showing it in a message. Errors here are the bare reason ("must be between 1 and
// 512"); who knows the file, variable or option puts it in front. Internal to common/settings*.cpp.
#pragma once

#include "common/duration.h"
#include "common/settings.h"

namespace green {

using SettingValue = std::variant<std::string, std::int64_t, Microseconds, StringList, StringMap>;

/// Reads a value as typed: one item for scalars, any number for lists and maps ("NAME=VALUE").
/// No item stands for the empty string, list or map.
Result<SettingValue> parse_items(const Setting& setting, const StringList& items);
/// An environment variable's text to items: lists and maps are split at commas and trimmed.
StringList split_items(const Setting& setting, std::string_view text);

/// Bounds, choices, syntax, and that named files exist.
Result<void> check_value(const Setting& setting, const SettingValue& value);
/// Reads no file system: bind, app, what a probe is, env names and forwarded_allow_ips.
Result<void> check_syntax(const Setting& setting, const SettingValue& value);

/// Precondition: the value's alternative is the setting's (parse_items and the TOML reader see to
/// it).
void store_value(const Setting& setting, SettingValue value, Settings& settings);
SettingValue value_of(const Setting& setting, const Settings& settings);

/// What an integer or duration may be: "must be a whole number between 1 and 512".
std::string describe_range(const Setting& setting);
/// "auto|on|off" → "must be auto, on or off".
std::string describe_choices(const Setting& setting);

}  // namespace green
