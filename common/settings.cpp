// The table of settings: names, defaults, bounds and help, each written once. Of that length, and
// one file because it is one table.
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
    Setting{.name = "threads",
            .type = SettingType::integer,
            .member = &Settings::threads,
            .default_text = "1",
            .minimum = 1,
            .maximum = 256,
            .help = "Requests a worker's application handles at a time, each on a thread of its "
                    "own"},
    Setting{.name = "interface",
            .type = SettingType::choice,
            .member = &Settings::interface,
            .default_text = "auto",
            .choices = "auto|wsgi|asgi",
            .help = "How the application is called; auto: as it looks"},
    Setting{.name = "loop",
            .type = SettingType::string,
            .member = &Settings::loop,
            .default_text = "auto",
            .help = "Event loop of an ASGI application: asyncio, uvloop, module:factory, or auto: "
                    "uvloop where it is installed"},
    Setting{.name = "lifespan",
            .type = SettingType::choice,
            .member = &Settings::lifespan,
            .default_text = "auto",
            .choices = "auto|on|off",
            .help =
                "Whether an ASGI application is told of its worker's start and end; auto: if it "
                "listens"},
    Setting{.name = "max_concurrency",
            .type = SettingType::integer,
            .member = &Settings::max_concurrency,
            .default_text = "0",
            .maximum = 1000000000,
            .help = "Requests an ASGI worker answers at a time; more are answered with 503; 0: any "
                    "number"},
    Setting{
        .name = "timeout",
        .type = SettingType::duration,
        .member = &Settings::timeout,
        .default_text = "30",
        .maximum = seconds_in_a_day,
        .unit = "seconds",
        .help =
            "Longest a request may keep the application busy: then it is answered with 504 and its "
            "worker replaced; 0: no limit"},
    Setting{.name = "graceful_timeout",
            .type = SettingType::duration,
            .member = &Settings::graceful_timeout,
            .default_text = "30",
            .maximum = seconds_in_a_day,
            .unit = "seconds",
            .help = "Time a stopping worker has to finish the requests it is answering"},
    Setting{.name = "max_requests",
            .type = SettingType::integer,
            .member = &Settings::max_requests,
            .default_text = "0",
            .maximum = 1000000000000,
            .help = "Requests after which a worker is recycled: another takes its place, then it "
                    "drains; 0: never"},
    Setting{.name = "max_requests_jitter",
            .type = SettingType::integer,
            .member = &Settings::max_requests_jitter,
            .default_text = "0",
            .maximum = 1000000000000,
            .help = "Most that is added to max_requests, at random for each worker"},
    Setting{.name = "max_rss",
            .type = SettingType::integer,
            .member = &Settings::max_rss,
            .default_text = "0",
            .maximum = 1125899906842624,
            .unit = "bytes",
            .help = "Memory above which a worker is recycled; shared pages count in proportion; 0: "
                    "never"},
    Setting{.name = "max_lifetime",
            .type = SettingType::duration,
            .member = &Settings::max_lifetime,
            .default_text = "0",
            .maximum = 365 * seconds_in_a_day,
            .unit = "seconds",
            .help = "Age at which a worker is recycled; 0: never"},
    Setting{.name = "max_lifetime_jitter",
            .type = SettingType::duration,
            .member = &Settings::max_lifetime_jitter,
            .default_text = "0",
            .maximum = 365 * seconds_in_a_day,
            .unit = "seconds",
            .help = "Most that is added to max_lifetime, at random for each worker"},
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
    Setting{.name = "probe",
            .type = SettingType::string,
            .member = &Settings::probe,
            .default_text = "",
            .help = "Path that a new generation is asked for before it serves; empty: none"},
    Setting{.name = "probe_status",
            .type = SettingType::string_list,
            .member = &Settings::probe_status,
            .default_text = "2xx,3xx,4xx",
            .help = "Statuses, or classes of them, that the probe may be answered with"},
    Setting{.name = "probe_timeout",
            .type = SettingType::duration,
            .member = &Settings::probe_timeout,
            .default_text = "30",
            .maximum = seconds_in_a_day,
            .unit = "seconds",
            .help = "Time the application has to answer the probe; 0: start_timeout alone"},
    Setting{.name = "probe_host",
            .type = SettingType::string,
            .member = &Settings::probe_host,
            .default_text = "localhost",
            .help = "Host header of the probe"},
    Setting{.name = "reload",
            .type = SettingType::choice,
            .member = &Settings::reload,
            .default_text = "whole",
            .choices = "whole|rolling",
            .help = "How a reload replaces workers: whole: all new ones stand ready before the old "
                    "ones stop; rolling: one after the other, in less memory"},
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
    Setting{.name = "worker_connections",
            .type = SettingType::integer,
            .member = &Settings::worker_connections,
            .default_text = "16384",
            .minimum = 1,
            .maximum = 1000000,
            .help = "Connections a worker holds at a time; more wait for another worker or for one "
                    "to close"},
    Setting{.name = "limit_request_line",
            .type = SettingType::integer,
            .member = &Settings::limit_request_line,
            .default_text = "8190",
            .minimum = 64,
            .maximum = 65536,
            .unit = "bytes",
            .help = "Longest request line; a longer one is answered with 414"},
    Setting{.name = "limit_request_fields",
            .type = SettingType::integer,
            .member = &Settings::limit_request_fields,
            .default_text = "100",
            .minimum = 1,
            .maximum = 10000,
            .help = "Most header fields of a request; more are answered with 431"},
    Setting{.name = "limit_request_field_size",
            .type = SettingType::integer,
            .member = &Settings::limit_request_field_size,
            .default_text = "8190",
            .minimum = 64,
            .maximum = 1048576,
            .unit = "bytes",
            .help = "Longest header field, name and value; a longer one is answered with 431"},
    Setting{.name = "limit_request_head",
            .type = SettingType::integer,
            .member = &Settings::limit_request_head,
            .default_text = "32768",
            .minimum = 1024,
            .maximum = 1048576,
            .unit = "bytes",
            .help = "Longest request line and header fields together, and longest trailers; longer "
                    "ones are answered with 431"},
    Setting{.name = "limit_request_body",
            .type = SettingType::integer,
            .member = &Settings::limit_request_body,
            .default_text = "1073741824",
            .minimum = 0,
            .maximum = 1125899906842624,
            .unit = "bytes",
            .help = "Longest request body; a longer one is answered with 413; 0: no limit"},
    Setting{.name = "request_head_timeout",
            .type = SettingType::duration,
            .member = &Settings::request_head_timeout,
            .default_text = "10",
            .minimum = 1,
            .maximum = seconds_in_a_day,
            .unit = "seconds",
            .help = "Time a client has for a whole request head; then 408"},
    Setting{.name = "request_body_timeout",
            .type = SettingType::duration,
            .member = &Settings::request_body_timeout,
            .default_text = "30",
            .minimum = 1,
            .maximum = seconds_in_a_day,
            .unit = "seconds",
            .help = "Longest wait for the next bytes of a request body; then 408"},
    Setting{
        .name = "send_timeout",
        .type = SettingType::duration,
        .member = &Settings::send_timeout,
        .default_text = "60",
        .minimum = 1,
        .maximum = seconds_in_a_day,
        .unit = "seconds",
        .help = "Longest wait for a client to take more of a reply before its connection is cut"},
    Setting{.name = "body_buffer_size",
            .type = SettingType::integer,
            .member = &Settings::body_buffer_size,
            .default_text = "65536",
            .minimum = 0,
            .maximum = 1073741824,
            .unit = "bytes",
            .help = "Part of a request body held in memory; a longer body goes to an unnamed file; "
                    "ASGI applications take bodies as they come, without"},
    Setting{
        .name = "reply_buffer_size",
        .type = SettingType::integer,
        .member = &Settings::reply_buffer_size,
        .default_text = "262144",
        .minimum = 0,
        .maximum = 1073741824,
        .unit = "bytes",
        .help = "Part of a reply held in memory for a slow client; more goes to an unnamed file"},
    Setting{.name = "spool_directory",
            .type = SettingType::string,
            .member = &Settings::spool_directory,
            .default_text = "/var/tmp",
            .help = "Folder of those unnamed files"},
    Setting{.name = "forwarded_allow_ips",
            .type = SettingType::string_list,
            .member = &Settings::forwarded_allow_ips,
            .default_text = "127.0.0.1,::1,unix:",
            .help = "Proxies whose X-Forwarded-*, Forwarded and PROXY headers are believed: "
                    "addresses, networks, unix: for unix sockets, * for all; others' are dropped"},
    Setting{.name = "proxy_protocol",
            .type = SettingType::choice,
            .member = &Settings::proxy_protocol,
            .default_text = "off",
            .choices = "off|on",
            .help = "Whether the proxies of forwarded_allow_ips begin each connection with a PROXY "
                    "header, version 1 or 2"},
    Setting{.name = "header_map",
            .type = SettingType::choice,
            .member = &Settings::header_map,
            .default_text = "drop",
            .choices = "drop|refuse",
            .help = "Header names with an underscore: dropped, or the request refused with 400"},
    Setting{.name = "websocket_max_message_size",
            .type = SettingType::integer,
            .member = &Settings::websocket_max_message_size,
            .default_text = "16777216",
            .minimum = 1,
            .maximum = 1073741824,
            .unit = "bytes",
            .help = "Longest message of a WebSocket's client, decompressed; a longer one closes it "
                    "with 1009"},
    Setting{.name = "websocket_ping_interval",
            .type = SettingType::duration,
            .member = &Settings::websocket_ping_interval,
            .default_text = "20",
            .maximum = seconds_in_a_day,
            .unit = "seconds",
            .help = "Silence of a WebSocket's client after which it is pinged; 0: never"},
    Setting{.name = "websocket_ping_timeout",
            .type = SettingType::duration,
            .member = &Settings::websocket_ping_timeout,
            .default_text = "20",
            .maximum = seconds_in_a_day,
            .unit = "seconds",
            .help = "Time a pinged client has to answer before its WebSocket is closed; 0: any"},
    Setting{.name = "websocket_compression",
            .type = SettingType::choice,
            .member = &Settings::websocket_compression,
            .default_text = "on",
            .choices = "on|off",
            .help = "Whether messages of WebSockets are compressed (permessage-deflate) where the "
                    "client offers it"},
    Setting{.name = "script_name",
            .type = SettingType::string,
            .member = &Settings::script_name,
            .default_text = "",
            .help = "Path the application is served under, such as /shop: its SCRIPT_NAME; other "
                    "paths are answered with 404; empty: all are the application's"},
    Setting{.name = "access_log",
            .type = SettingType::string,
            .member = &Settings::access_log,
            .default_text = "off",
            .help = "Where a line for each request goes: off, journal, - for standard output, or a "
                    "file's path"},
    Setting{.name = "access_log_format",
            .type = SettingType::string,
            .member = &Settings::access_log_format,
            .default_text = "combined",
            .help = "That line: common, combined, json, or a format of atoms such as %(r)s"},
    Setting{.name = "request_id",
            .type = SettingType::choice,
            .member = &Settings::request_id,
            .default_text = "off",
            .choices = "off|environ|reply",
            .help = "X-Request-ID of each request, from trusted proxies or made: in the environ; "
                    "reply: in the reply too"},
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
    if (!setting.default_text.empty()) items = split_items(setting, setting.default_text);
    // A default that does not parse is a mistake in the table above; a test reads every one.
    store_value(setting, parse_items(setting, items).value(), settings);
  }
  return settings;
}

StringList changed_settings(const Settings& before, const Settings& after, SettingScope scope) {
  StringList names;
  for (const Setting& setting : table)
    if (setting.scope == scope && value_of(setting, before) != value_of(setting, after))
      names.emplace_back(setting.name);
  return names;
}

void keep_until_restart(const Settings& running, Settings& settings) {
  for (const Setting& setting : table)
    if (setting.scope == SettingScope::restart)
      store_value(setting, value_of(setting, running), settings);
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
