// Settings as TOML: the only place that knows toml++. Internal to common/settings*.cpp.
#pragma once

#include "common/settings_value.h"

namespace green {

struct TomlEntry {
  const Setting* setting;
  SettingValue value;
  std::uint32_t line;
};

/// The settings a TOML text gives, in its order. Types and names are checked, bounds and syntax are
/// not. Errors start with "<name>:<line>: ".
Result<std::vector<TomlEntry>> read_toml(std::string_view text, std::string_view name);

/// One value as TOML on one line.
std::string toml_value(const SettingValue& value);

/// 'unknown setting "wrokers"; did you mean "workers"?'
std::string unknown_setting(std::string_view name);

}  // namespace green
