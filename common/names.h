// Every string and number that more than one of our programs must agree on.
#pragma once

#include <string>
#include <string_view>

namespace green {

inline constexpr std::string_view version = GREEN_VERSION;  // from CMake's project(VERSION)

// D-Bus. One bus name an instance: org.greend1.<site, escaped as a bus name element>.
inline constexpr std::string_view bus_name_prefix = "org.greend1.";
inline constexpr std::string_view bus_path = "/org/greend1";
inline constexpr std::string_view bus_workers_path = "/org/greend1/worker";  // + "/<slot>"
inline constexpr std::string_view bus_error_prefix = "org.greend1.Error.";

/// Settings file of a site: <config_directory>/<site>.toml.
inline constexpr std::string_view config_directory = "/etc/green";

// Environment of greend and greenctl.
inline constexpr std::string_view environment_prefix = "GREEN_";  ///< + SETTING NAME IN CAPITALS
inline constexpr const char* bus_environment_variable = "GREEN_BUS";  ///< as --bus

/// Exit statuses (sysexits.h where it has one; also in the manuals).
enum ExitStatus : int {
  exit_success = 0,
  exit_failure = 1,
  exit_usage = 2,        ///< greenctl: bad command line
  exit_not_running = 3,  ///< greenctl: the site does not run (as systemctl status)
  exit_no_site = 4,      ///< greenctl: no such site, or several and none was named
  exit_config = 78,      ///< EX_CONFIG: the configuration is wrong; a restart changes nothing
};

/// A site's name: what follows the @ of its unit. 1 to 64 of [A-Za-z0-9_.-], no leading dot or
/// dash.
bool is_valid_site_name(std::string_view site);
/// org.greend1.<site> with bytes a bus name can't hold written as _xx (hex), like
/// sd_bus_path_encode. Precondition: is_valid_site_name(site).
std::string bus_name_of_site(std::string_view site);
/// The inverse; empty when `name` is not one of ours.
std::string site_of_bus_name(std::string_view name);

}  // namespace green
