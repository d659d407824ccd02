// Every setting of a site, named once. From the one table come: the TOML reader, GREEN_*
// environment variables, greend's options, --check-config, --print-config and the manual's option
// list. No process affinity; not thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "common/duration.h"
#include "common/result.h"

namespace green {

using StringList = std::vector<std::string>;
using StringMap = std::map<std::string, std::string>;

/// The values. Defaults are in the table (settings.cpp), not here: use default_settings().
struct Settings {
  StringList bind;  ///< "HOST:PORT", "[V6]:PORT", "unix:/path"; unused where systemd passes sockets
  std::string app;  ///< "module:attr", "module:attr.attr", "module:factory()" or "module"
  std::int64_t workers = 0;
  std::int64_t threads = 0;          ///< per worker
  std::string interface;             ///< "auto", "wsgi", "asgi"
  std::string loop;                  ///< "auto", "asyncio", "uvloop", "module:factory"
  std::string lifespan;              ///< "auto", "on", "off"
  std::int64_t max_concurrency = 0;  ///< of an ASGI worker; 0: any number
  Microseconds timeout{};            ///< per request; 0: none
  Microseconds graceful_timeout{};   ///< for draining
  Microseconds start_timeout{};   ///< from a generation's start to all its workers ready; 0: none
  std::int64_t max_requests = 0;  ///< of a worker, before it is recycled; 0: any number
  std::int64_t max_requests_jitter = 0;  ///< most that is added to it, at random
  std::int64_t max_rss = 0;              ///< bytes of a worker; 0: any number
  Microseconds max_lifetime{};           ///< of a worker; 0: any
  Microseconds max_lifetime_jitter{};
  Microseconds keepalive{};  ///< idle keep-alive connections; 0: no keep-alive
  std::string python;        ///< a venv's folder or an interpreter; empty: the system's
  std::string chdir;         ///< empty: where greend was started
  StringList pythonpath;
  StringMap env;
  std::string probe;             ///< path asked of a new generation before it serves; empty: none
  StringList probe_status;       ///< "204" or a class, "2xx": what counts as an answer
  Microseconds probe_timeout{};  ///< for that one request; 0: start_timeout alone bounds it
  std::string probe_host;        ///< its Host header
  std::string reload;            ///< "whole", "rolling"
  std::string preload;           ///< "auto", "on", "off"
  std::string log_level;
  // What a client may take of a worker (daemon/http/limits.h).
  std::int64_t worker_connections = 0;
  std::int64_t limit_request_line = 0;
  std::int64_t limit_request_fields = 0;
  std::int64_t limit_request_field_size = 0;
  std::int64_t limit_request_head = 0;
  std::int64_t limit_request_body = 0;  ///< 0: none
  Microseconds request_head_timeout{};
  Microseconds request_body_timeout{};
  Microseconds send_timeout{};
  std::int64_t body_buffer_size = 0;
  std::int64_t reply_buffer_size = 0;
  std::string spool_directory;
  StringList forwarded_allow_ips;  ///< addresses, networks, "unix:", "*"
  std::string proxy_protocol;      ///< "off", "on"
  std::string header_map;          ///< "drop", "refuse"
  std::int64_t websocket_max_message_size = 0;
  Microseconds websocket_ping_interval{};  ///< 0: no pings
  Microseconds websocket_ping_timeout{};   ///< 0: none
  std::string websocket_compression;       ///< "on", "off"
  std::string script_name;        ///< "/shop"; empty: the application is served at the root
  std::string access_log;         ///< "off", "journal", "-" (standard output), a file's path
  std::string access_log_format;  ///< access_format.h
  std::string request_id;         ///< "off", "environ", "reply"
  bool operator==(const Settings&) const = default;
};

enum class SettingType { string, integer, duration, choice, string_list, string_map };
/// What a changed value needs to take effect.
enum class SettingScope { reload, restart };

struct Setting {
  std::string_view
      name;  ///< TOML key; "graceful_timeout" → GREEN_GRACEFUL_TIMEOUT, --graceful-timeout
  SettingType type;
  std::variant<std::string Settings::*, std::int64_t Settings::*, Microseconds Settings::*,
               StringList Settings::*, StringMap Settings::*>
      member;
  std::string_view default_text;  ///< as it would be typed on the command line; empty: empty
  std::int64_t minimum = 0;       ///< integers: bounds; durations: bounds in seconds
  std::int64_t maximum = 0;
  std::string_view choices{};  ///< choice: "auto|on|off"
  SettingScope scope = SettingScope::reload;
  bool is_secret = false;   ///< values are never printed (env)
  std::string_view unit{};  ///< "seconds", "" …
  /// What the word "auto" stands for; nullptr: an integer that does not know it.
  std::int64_t (*automatic)() = nullptr;
  std::string_view help;  ///< one line, no full stop
};

std::span<const Setting> settings_table();
/// Names of the settings of a scope that differ, in the table's order.
StringList changed_settings(const Settings& before, const Settings& after, SettingScope scope);
/// Gives `settings` the values that `running` has of what only a restart changes.
void keep_until_restart(const Settings& running, Settings& settings);
const Setting* find_setting(std::string_view name);
/// "GREEN_GRACEFUL_TIMEOUT"
std::string setting_variable(const Setting& setting);
/// "--graceful-timeout"
std::string setting_option(const Setting& setting);
Settings default_settings();
/// The known name nearest to a mistyped one (edit distance ≤ 2 or a prefix), or empty.
std::string_view nearest_setting(std::string_view name);

struct SettingSources {
  std::optional<std::filesystem::path> file{};  ///< must exist when given
  /// Looks up an environment variable; nullptr: unset. Empty function: no environment is read.
  std::function<const char*(const char*)> environment{};
  /// GREEN_* variables that are set, so that a mistyped one can be named: it is an error when it
  /// comes near a setting's, and left alone otherwise (GREEN_BUS, a container platform's own). May
  /// be empty.
  StringList environment_names{};
  /// Option name as in the table → its values, in order (one for scalars).
  std::map<std::string, StringList, std::less<>> command_line{};
};

struct LoadedSettings {
  Settings values;
  /// Setting name → where its value came from: "default", "/etc/green/site.toml:3",
  /// "environment GREEN_WORKERS", "command line". Every setting has an entry.
  std::map<std::string, std::string, std::less<>> origins;
};

/// Command line > environment > file > default; of `env`, each variable by itself. Errors are
/// ErrorCode::configuration, one line, and name file, line and key (or the variable or option),
/// what is wrong, what is allowed, and the nearest name. Also refuses: a file that can't be read,
/// wrong types, out-of-bounds numbers, an empty `app`.
Result<LoadedSettings> load_settings(const SettingSources& sources);

/// TOML that settings_from_toml reads back to the same values; secrets included (worker hand-over
/// only). Strings must be UTF-8, as load_settings makes sure they are.
std::string settings_to_toml(const Settings& settings);
/// Checks types and names only, not bounds or syntax: load_settings did that. Absent: the default.
Result<Settings> settings_from_toml(std::string_view toml);

/// For people: TOML with each value's origin as a comment. Secret values are "***", and where they
/// are not those of `compared_with`, "*** (another)".
std::string describe_settings(const LoadedSettings& loaded,
                              const Settings* compared_with = nullptr);

}  // namespace green
