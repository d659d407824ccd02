#include "daemon/manager/command_line.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <sstream>

#include "common/names.h"

extern char** environ;

namespace green::manager {
namespace {

std::string value_name(const Setting& setting) {
  switch (setting.type) {
    case SettingType::integer:
      return "N";
    case SettingType::duration:
      return "SECONDS";
    case SettingType::choice:
      return std::string(setting.choices);
    case SettingType::string_map:
      return "KEY=VALUE";
    case SettingType::string:
    case SettingType::string_list:
      return "VALUE";
  }
  return "VALUE";
}

/// "my.site.toml" → "my.site"; "mysite.wsgi:app" → "mysite.wsgi".
std::string site_from(const std::string& text) {
  std::string site;
  for (const char c : text.substr(0, text.find(':'))) {
    const std::string one(1, c);
    site += is_valid_site_name("a" + one) ? one : "-";
  }
  site.resize(std::min<std::size_t>(site.size(), 64));
  while (!site.empty() && !is_valid_site_name(site)) site.erase(0, 1);
  return site.empty() ? "app" : site;
}

StringList environment_names() {
  StringList names;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string_view entry(*variable);
    if (entry.starts_with(environment_prefix)) names.emplace_back(entry.substr(0, entry.find('=')));
  }
  return names;
}

/// CLI11's own usage line can't say that there are three ways to call us.
class Help final : public CLI::Formatter {
 public:
  std::string make_usage(const CLI::App*, std::string) const override {
    return "Usage: greend [OPTIONS] --site NAME\n"
           "       greend [OPTIONS] --config FILE\n"
           "       greend [OPTIONS] MODULE:ATTR\n";
  }
};

CommandLineExit usage_error(const std::string& message) {
  return {exit_config, {}, message + "; see greend --help"};
}

/// "--wokers: no such option; did you mean --workers?" for the first one that isn't there; else
/// empty.
std::string unknown_option(const CLI::App& app, int argc, const char* const* argv) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument(argv[i]);
    if (argument == "--") break;
    if (!argument.starts_with("--")) continue;
    const std::string name(argument.substr(0, argument.find('=')));
    if (app.get_option_no_throw(name) != nullptr) continue;
    std::string setting = name.substr(2);
    std::ranges::replace(setting, '-', '_');
    const Setting* near = find_setting(nearest_setting(setting));
    if (near == nullptr || near->name == "app") return name + ": no such option";
    return fmt::format("{}: no such option; did you mean {}?", name, setting_option(*near));
  }
  return {};
}

/// As CLI11 wants them: last first. It takes "--probe=" for an option that lacks its value, so that
/// one becomes two words.
StringList reversed_arguments(int argc, const char* const* argv) {
  StringList words;
  bool is_option = true;
  for (int i = 1; i < argc; ++i) {
    std::string word(argv[i]);
    if (word == "--") is_option = false;
    const bool sets_to_nothing =
        is_option && word.starts_with("--") && word.find('=') == word.size() - 1;
    if (sets_to_nothing) word.pop_back();
    words.push_back(std::move(word));
    if (sets_to_nothing) words.emplace_back();
  }
  std::ranges::reverse(words);
  return words;
}

}  // namespace

std::variant<CommandLine, CommandLineExit> parse_command_line(int argc, const char* const* argv) {
  CLI::App app{"green's manager: serves a Python web application by pre-forked workers", "greend"};
  app.formatter(std::make_shared<Help>());
  app.footer("Every setting is explained in green.toml(5); greend itself in greend(8).");
  app.set_version_flag("--version", fmt::format("greend {}", version));
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::Throw);

  CommandLine line;
  std::string config;
  std::string application;
  app.add_option("application", application,
                 "What to serve: module:attr, module:factory() or module");
  app.add_option("--site", line.site,
                 fmt::format("Serve the site of {}/NAME.toml", config_directory))
      ->type_name("NAME");
  app.add_option("--config", config, "Read the settings from FILE")->type_name("FILE");
  app.add_option("--bus", line.bus, "Offer D-Bus control on this bus")
      ->type_name("system|user|none|ADDRESS");
  app.add_flag("--check-config", line.check_config, "Check the settings and exit");
  app.add_flag("--print-config", line.print_config,
               "Print every setting and where it comes from, and exit");

  std::deque<StringList> values;  // stable addresses: CLI11 keeps them
  for (const Setting& setting : settings_table()) {
    if (setting.name == "app") continue;  // the positional argument
    app.add_option(setting_option(setting), values.emplace_back(), std::string(setting.help))
        ->type_name(value_name(setting))
        ->expected(1)
        ->allow_extra_args(false)
        ->multi_option_policy(
            CLI::MultiOptionPolicy::TakeAll)  // load_settings refuses repeated scalars
        ->group("Settings");
  }

  try {
    app.parse(reversed_arguments(argc, argv));
  } catch (const CLI::ParseError& error) {
    std::ostringstream output;
    std::ostringstream message;
    const int status = app.exit(error, output, message);
    if (status == 0) return CommandLineExit{0, output.str(), {}};
    const std::string unknown = unknown_option(app, argc, argv);
    return usage_error(unknown.empty() ? error.what() : unknown);
  }

  if (!line.site.empty() && !config.empty())
    return usage_error("--site and --config exclude each other");
  if (!line.site.empty() && !is_valid_site_name(line.site))
    return usage_error(fmt::format(
        "--site {}: a site's name is 1 to 64 letters, digits, '_', '-' or '.'", line.site));
  line.named = !line.site.empty();
  if (line.named) {
    line.sources.file = std::filesystem::path(config_directory) / (line.site + ".toml");
  } else if (!config.empty()) {
    line.sources.file = std::filesystem::absolute(config);
    line.site = site_from(line.sources.file->stem().string());
  } else if (!application.empty()) {
    line.site = site_from(application);
  }
  if (!application.empty()) line.sources.command_line["app"] = {application};
  auto value = values.begin();
  for (const Setting& setting : settings_table()) {
    if (setting.name == "app") continue;
    if (!value->empty()) line.sources.command_line[std::string(setting.name)] = *value;
    ++value;
  }
  line.sources.environment = [](const char* name) -> const char* { return std::getenv(name); };
  line.sources.environment_names = environment_names();
  if (line.bus.empty()) {
    const char* from_environment = std::getenv(bus_environment_variable);
    line.bus = from_environment != nullptr ? from_environment : "";
  }
  if (line.bus.empty()) line.bus = "system";
  if (line.site.empty()) line.site = "app";
  return line;
}

}  // namespace green::manager
