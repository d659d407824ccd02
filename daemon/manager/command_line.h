// greend's command line: the settings table as options, and what is not a setting.
#pragma once

#include <optional>
#include <string>
#include <variant>

#include "common/settings.h"

namespace green::manager {

struct CommandLine {
  std::string site;    ///< --site; else made of the file's or the application's name
  bool named = false;  ///< --site was given: the unit's case
  std::string bus;     ///< "system", "user", "none" or an address; empty: decide by named
  bool check_config = false;
  bool print_config = false;
  SettingSources sources;
};

/// What main does when there is nothing to run: print and exit (--help, --version, usage errors).
struct CommandLineExit {
  int status;
  std::string output;
  std::string error;
};

std::variant<CommandLine, CommandLineExit> parse_command_line(int argc, const char* const* argv);

}  // namespace green::manager
