// What a setting's value may be: bounds, choices, syntax of addresses and names, paths that must
// exist.
#include <arpa/inet.h>
#include <fmt/format.h>
#include <sys/un.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <system_error>

#include "common/access_format.h"
#include "common/ip_network.h"
#include "common/settings_value.h"
#include "common/text.h"

namespace green {
namespace {

std::unexpected<Error> invalid(std::string message) {
  return fail(ErrorCode::configuration, std::move(message));
}

bool is_name_start(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool is_environment_name(std::string_view name) {
  return !name.empty() && is_name_start(name.front()) &&
         std::ranges::all_of(name, [](char c) { return is_name_start(c) || is_digit(c); });
}

/// Python identifiers joined by dots. Letters beyond ASCII are left to Python to judge.
bool is_dotted_name(std::string_view name) {
  bool at_start = true;
  for (const char c : name) {
    const bool is_letter = is_name_start(c) || static_cast<unsigned char>(c) >= 0x80;
    if (at_start ? !is_letter : !(is_letter || is_digit(c) || c == '.')) return false;
    at_start = c == '.';
  }
  return !at_start;
}

Result<void> check_app(std::string_view app) {
  if (app.empty()) return {};
  const auto colon = app.find(':');
  const std::string_view module = app.substr(0, colon);
  if (!is_dotted_name(module))
    return invalid(R"(must be "module:attr" with a module's dotted name, not a file's path)");
  if (colon == std::string_view::npos) return {};
  std::string_view attribute = app.substr(colon + 1);
  if (attribute.ends_with("()")) attribute.remove_suffix(2);
  if (!is_dotted_name(attribute))
    return invalid(R"-(must be "module:attr", "module:attr.attr" or "module:factory()")-");
  return {};
}

Result<void> check_loop(std::string_view loop) {
  if (loop == "auto" || loop == "asyncio" || loop == "uvloop") return {};
  const auto colon = loop.find(':');
  if (colon == std::string_view::npos || !is_dotted_name(loop.substr(0, colon)) ||
      !is_dotted_name(loop.substr(colon + 1)))
    return invalid(R"(must be "auto", "asyncio", "uvloop" or a "module:factory")");
  return {};
}

Result<void> check_address(std::string_view address) {
  const std::string shown = printable(address);
  if (address.starts_with("unix:")) {
    const std::string_view path = address.substr(5);
    if (!path.starts_with('/'))
      return invalid(
          fmt::format(R"("{}": a unix socket needs an absolute path, "unix:/PATH")", shown));
    if (path.size() >= sizeof(sockaddr_un::sun_path))
      return invalid(fmt::format(R"("{}": a unix socket's path may have at most {} bytes)", shown,
                                 sizeof(sockaddr_un::sun_path) - 1));
    return {};
  }
  const auto colon = address.rfind(':');
  if (colon == std::string_view::npos || colon == 0)
    return invalid(fmt::format(R"("{}": must be HOST:PORT, [IPV6]:PORT or unix:/PATH)", shown));
  const std::string_view port = address.substr(colon + 1);
  std::uint16_t number = 0;
  if (const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
      port.empty() || error != std::errc{} || end != port.data() + port.size())
    return invalid(fmt::format(R"("{}": the port must be between 0 and 65535)", shown));

  std::string host(address.substr(0, colon));
  if (host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
    in6_addr v6;
    if (inet_pton(AF_INET6, host.substr(0, host.find('%')).c_str(), &v6) != 1)
      return invalid(fmt::format(R"("{}": no IPv6 address in the brackets)", shown));
    return {};
  }
  if (host.find(':') != std::string::npos)
    return invalid(fmt::format(R"("{}": an IPv6 address is written in brackets, "[{}]:{}")", shown,
                               printable(host), port));
  in_addr v4;
  const bool is_numeric = std::ranges::all_of(host, [](char c) { return is_digit(c) || c == '.'; });
  const bool is_name = std::ranges::all_of(
      host, [](char c) { return is_name_start(c) || is_digit(c) || c == '.' || c == '-'; });
  if (!is_name || (is_numeric && inet_pton(AF_INET, host.c_str(), &v4) != 1))
    return invalid(fmt::format(R"("{}": "{}" is no host name or address)", shown, printable(host)));
  return {};
}

Result<void> check_probe(std::string_view probe) {
  const bool is_plain = std::ranges::all_of(
      probe, [](char c) { return static_cast<unsigned char>(c) > 0x20 && c != 0x7F; });
  if (!probe.empty() && (!probe.starts_with('/') || !is_plain))
    return invalid(R"(must be a path such as "/health", without spaces)");
  return {};
}

/// "204", or a class such as "2xx".
bool is_status(std::string_view text) {
  return text.size() == 3 && text[0] >= '1' && text[0] <= '5' &&
         (text.substr(1) == "xx" || (is_digit(text[1]) && is_digit(text[2])));
}

Result<void> check_statuses(const StringList& statuses) {
  if (statuses.empty()) return invalid("must name at least one status");
  for (const std::string& status : statuses)
    if (!is_status(status))
      return invalid(fmt::format(R"("{}": must be a status such as "204" or a class such as "2xx")",
                                 printable(status)));
  return {};
}

/// What a Host header may hold; that it names a host is the application's to say.
Result<void> check_probe_host(std::string_view host) {
  const bool is_plain = std::ranges::all_of(host, [](char c) {
    return static_cast<unsigned char>(c) > 0x20 && static_cast<unsigned char>(c) < 0x7F &&
           c != '/' && c != ',';
  });
  if (host.empty() || !is_plain) return invalid(R"(must be a host such as "www.example.org")");
  return {};
}

Result<void> check_script_name(std::string_view name) {
  const bool is_plain = std::ranges::all_of(name, [](char c) {
    return static_cast<unsigned char>(c) > 0x20 && c != 0x7F && c != '%' && c != '?';
  });
  if (!name.empty() && (!name.starts_with('/') || name.ends_with('/') || !is_plain))
    return invalid(R"(must be a path such as "/shop", without a / at its end, spaces or escapes)");
  return {};
}

Result<void> check_proxies(const StringList& proxies) {
  for (const std::string& proxy : proxies) {
    if (proxy == "*" || proxy == "unix:") continue;
    if (auto network = parse_ip_network(proxy); !network) return fail(std::move(network.error()));
  }
  return {};
}

Result<void> check_access_log(std::string_view target) {
  if (target == "off" || target == "journal" || target == "-") return {};
  if (target.starts_with('/') && !target.ends_with('/')) return {};
  return invalid(R"(must be "off", "journal", "-" for standard output, or a file's absolute path)");
}

Result<void> check_access_log_format(std::string_view format) {
  if (auto parsed = parse_access_format(format); !parsed) return fail(std::move(parsed.error()));
  return {};
}

Result<void> check_environment(const StringMap& environment) {
  for (const auto& [name, value] : environment)
    if (!is_environment_name(name))
      return invalid(fmt::format(R"("{}" is no variable's name: letters, digits and _ only)",
                                 printable(name)));
  return {};
}

/// Relative paths are left alone: what they are relative to is decided later.
Result<void> check_exists(std::string_view path) {
  std::error_code error;
  if (!path.starts_with('/') || std::filesystem::exists(path, error)) return {};
  return invalid(fmt::format("{}: {}", printable(path),
                             error ? error.message() : "No such file or directory"));
}

Result<void> check_paths(const Setting& setting, const SettingValue& value) {
  if (setting.name == "chdir" || setting.name == "spool_directory") {
    const auto& path = std::get<std::string>(value);
    std::error_code error;
    if (path.empty() && setting.name == "chdir") return {};
    if (setting.name == "spool_directory" && !path.starts_with('/'))
      return invalid("must be an absolute path");
    if (std::filesystem::is_directory(path, error)) return {};
    return invalid(error ? error.message() : "must be a directory");
  }
  if (setting.name == "python" && !std::get<std::string>(value).empty())
    if (auto checked = check_exists(std::get<std::string>(value)); !checked)
      return invalid("no such virtual environment or interpreter");
  if (setting.name == "pythonpath") {
    for (const std::string& path : std::get<StringList>(value)) {
      if (path.empty()) return invalid("a folder's name is empty");
      if (auto checked = check_exists(path); !checked) return checked;
    }
  }
  return {};
}

}  // namespace

Result<void> check_syntax(const Setting& setting, const SettingValue& value) {
  if (setting.name == "app") return check_app(std::get<std::string>(value));
  if (setting.name == "loop") return check_loop(std::get<std::string>(value));
  if (setting.name == "probe") return check_probe(std::get<std::string>(value));
  if (setting.name == "probe_status") return check_statuses(std::get<StringList>(value));
  if (setting.name == "probe_host") return check_probe_host(std::get<std::string>(value));
  if (setting.name == "script_name") return check_script_name(std::get<std::string>(value));
  if (setting.name == "access_log") return check_access_log(std::get<std::string>(value));
  if (setting.name == "access_log_format")
    return check_access_log_format(std::get<std::string>(value));
  if (setting.name == "env") return check_environment(std::get<StringMap>(value));
  if (setting.name == "forwarded_allow_ips") return check_proxies(std::get<StringList>(value));
  if (setting.name == "bind") {
    const auto& addresses = std::get<StringList>(value);
    if (addresses.empty()) return invalid("must name at least one address");
    for (const std::string& address : addresses)
      if (auto checked = check_address(address); !checked) return checked;
  }
  return {};
}

Result<void> check_value(const Setting& setting, const SettingValue& value) {
  if (const auto* number = std::get_if<std::int64_t>(&value);
      number != nullptr && (*number < setting.minimum || *number > setting.maximum))
    return invalid(fmt::format("must be between {} and {}", setting.minimum, setting.maximum));
  if (const auto* duration = std::get_if<Microseconds>(&value);
      duration != nullptr && (*duration < std::chrono::seconds(setting.minimum) ||
                              *duration > std::chrono::seconds(setting.maximum)))
    return invalid(describe_range(setting));
  if (setting.type == SettingType::choice) {
    const auto& text = std::get<std::string>(value);
    const std::string bars = fmt::format("|{}|", setting.choices);
    if (text.empty() || text.find('|') != std::string::npos ||
        bars.find(fmt::format("|{}|", text)) == std::string::npos)
      return invalid(describe_choices(setting));
  }
  if (auto checked = check_syntax(setting, value); !checked) return checked;
  return check_paths(setting, value);
}

}  // namespace green
