// The table of settings: names, defaults, bounds and help, each written once.
#include "common/settings.h"

#include <sched.h>

#include <algorithm>
#include <array>
#include <thread>

#include "common/names.h"
#include "common/settings_value.h"
#include "common/text.h"

namespace green {
namespace {

constexpr std::int64_t seconds_in_a_day = 86400;

/// CPUs this process may run on, and at least 2: one busy worker must not be all there is.
std::int64_t default_workers() {
  cpu_set_t cpus;
  const int usable = sched_getaffinity(0, sizeof(cpus), &cpus) == 0
                         ? CPU_COUNT(&cpus)
                         : static_cast<int>(std::thread::hardware_concurrency());
  return std::clamp(usable, 2, 512);
}

constexpr std::array table{
    Setting{.name = "app",
            .type = SettingType::string,
            .member = &Settings::app,
            .default_text = "",
            .help = "The application: module:attr, module:attr.attr, module:factory() or module"},
    Setting{.name = "bind",
            .type = SettingType::string_list,
            .member = &Settings::bind,
            .default_text = "127.0.0.1:8000",
            .scope = SettingScope::restart,
            .help =
                "Addresses to listen on (HOST:PORT, [IPV6]:PORT, unix:/PATH) where systemd passes "
                "no sockets"},
    Setting{.name = "workers",
            .type = SettingType::integer,
            .member = &Settings::workers,
            .default_text = "auto",
            .minimum = 1,
            .maximum = 512,
            .automatic = default_workers,
            .help = "Number of worker processes; auto: the CPUs greend may use, at least 2"},
    Setting{.name = "timeout",
            .type = SettingType::duration,
            .member = &Settings::timeout,
            .default_text = "30",
            .maximum = seconds_in_a_day,
            .unit = "seconds",
            .help =
                "Longest a request may keep the application busy before its worker is replaced; "
                "0: no limit"},
    Setting{.name = "graceful_timeout",
            .type = SettingType::duration,
            .member = &Settings::graceful_timeout,
            .default_text = "30",
            .maximum = seconds_in_a_day,
            .unit = "seconds",
            .help = "Time a stopping worker has to finish the requests it is answering"},
    Setting{
        .name = "start_timeout",
        .type = SettingType::duration,
        .member = &Settings::start_timeout,
        .default_text = "600",
        .maximum = seconds_in_a_day,
        .unit = "seconds",
        .help =
            "Time a generation has from its start until all its workers are ready; 0: no limit"},
    Setting{
        .name = "keepalive",
        .type = SettingType::duration,
        .member = &Settings::keepalive,
        .default_text = "5",
        .maximum = seconds_in_a_day,
        .unit = "seconds",
        .help = "Time an idle connection is kept open for its next request; 0: one request each"},
    Setting{.name = "python",
            .type = SettingType::string,
            .member = &Settings::python,
            .default_text = "",
            .help = "A virtual environment's folder or a Python interpreter; empty: the system's "
                    "Python"},
    Setting{.name = "chdir",
            .type = SettingType::string,
            .member = &Settings::chdir,
            .default_text = "",
            .help = "Working directory of the application; empty: where greend was started"},
    Setting{.name = "pythonpath",
            .type = SettingType::string_list,
            .member = &Settings::pythonpath,
            .default_text = "",
            .help = "Folders put in front of Python's module search path"},
    Setting{.name = "env",
            .type = SettingType::string_map,
            .member = &Settings::env,
            .default_text = "",
            .is_secret = true,
            .help = "Environment variables of the application; their values are never shown"},
    Setting{
        .name = "probe",
        .type = SettingType::string,
        .member = &Settings::probe,
        .default_text = "",
        .help = "Path a new generation must answer without a 5xx before it serves; empty: none"},
    Setting{.name = "preload",
            .type = SettingType::choice,
            .member = &Settings::preload,
            .default_text = "auto",
            .choices = "auto|on|off",
            .help =
                "Import the application once and fork the workers from it; auto: unless the import "
                "left threads or connections behind"},
    Setting{.name = "log_level",
            .type = SettingType::choice,
            .member = &Settings::log_level,
            .default_text = "info",
            .choices = "error|warning|notice|info|debug",
            .help = "Least important messages that are still logged"},
};

}  // namespace

std::span<const Setting> settings_table() { return table; }

const Setting* find_setting(std::string_view name) {
  const auto found = std::ranges::find(table, name, &Setting::name);
  return found == table.end() ? nullptr : &*found;
}

std::string setting_variable(const Setting& setting) {
  std::string name(environment_prefix);
  for (const char c : setting.name) name += static_cast<char>(c >= 'a' && c <= 'z' ? c - 32 : c);
  return name;
}

std::string setting_option(const Setting& setting) {
  std::string name = "--";
  for (const char c : setting.name) name += c == '_' ? '-' : c;
  return name;
}

Settings default_settings() {
  Settings settings;
  for (const Setting& setting : table) {
    StringList items;
    if (!setting.default_text.empty()) items.emplace_back(setting.default_text);
    // A default that does not parse is a mistake in the table above; a test reads every one.
    store_value(setting, parse_items(setting, items).value(), settings);
  }
  return settings;
}

std::string_view nearest_setting(std::string_view name) {
  std::string_view nearest;
  std::size_t best = 3;  // farther is no likely slip
  for (const Setting& setting : table) {
    const std::size_t distance = edit_distance(name, setting.name);
    if (distance < best && distance * 2 < setting.name.size()) {
      best = distance;
      nearest = setting.name;
    }
  }
  if (!nearest.empty() || name.size() < 2) return nearest;
  const auto longer = std::ranges::find_if(
      table, [name](const Setting& setting) { return setting.name.starts_with(name); });
  return longer == table.end() ? std::string_view{} : longer->name;
}

}  // namespace green
