// greenctl config: a site's settings checked, shown with where each comes from, and what a reload
// would change of those that run.
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "common/settings.h"
#include "common/text.h"
#include "ctl/verb.h"

namespace green::ctl {
namespace {

struct Described {
  std::string value, origin;
};
using Description = std::map<std::string, Described>;

/// "workers = 4  # /etc/green/shop.toml:3", a line a setting.
Description parse(const std::string& text) {
  Description settings;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const auto equals = line.find(" = ");
    const auto origin = line.rfind("  # ");
    if (equals == std::string::npos || origin == std::string::npos || origin < equals) continue;
    settings[line.substr(0, equals)] = {line.substr(equals + 3, origin - equals - 3),
                                        line.substr(origin + 4)};
  }
  return settings;
}

Outcome<std::string> from_file(const std::string& site) {
  const auto file = std::filesystem::path(config_directory) / (site + ".toml");
  if (::access(file.c_str(), R_OK) != 0 && errno == EACCES)
    return fail_with(exit_failure, fmt::format("{} may not be read by you; try it as root",
                                               printable(file.string())));
  const auto loaded = load_settings({.file = file});
  if (!loaded)
    return fail_with(exit_config, fmt::format("{}; see: man green.toml", loaded.error().message()));
  return describe_settings(*loaded);
}

class Config final : public Verb {
 public:
  Config()
      : Verb("config", "check|show|diff [SITE]",
             "Check a site's settings, show them, or what a reload would change") {}
  void declare(CLI::App& command) override {
    command.add_option("WHAT", words_)->required()->expected(1, 2);
  }
  bool may_page() const override { return true; }
  Outcome<> run(Session& session) override {
    const std::string& what = words_.front();
    const std::string site = words_.size() == 2 ? words_.back() : std::string();
    if (what == "check") return check(session, site);
    if (what == "show") return show(session, site);
    if (what == "diff") return diff(session, site);
    return fail_with(exit_usage,
                     fmt::format("\"{}\": config knows check, show and diff", printable(what)));
  }

 private:
  /// Of a running site its greend reads them, with its own options and environment; else the file
  /// alone.
  static Outcome<std::string> of(Session& session, const std::string& requested,
                                 const std::string& which) {
    const auto site = session.site(requested);
    if (site) return (*session.client())->settings(*site, which);
    const bool is_known = is_valid_site_name(requested) && session.host.empty();
    if (is_known && site.error().status == exit_not_running) return from_file(requested);
    return std::unexpected(site.error());
  }
  static Outcome<> check(Session& session, const std::string& requested) {
    const auto text = of(session, requested, "disk");
    if (!text) return std::unexpected(text.error());
    if (!session.is_quiet && session.json == JsonStyle::off)
      *session.out << "The settings are fine.\n";
    if (session.json != JsonStyle::off)
      *session.out << format_json({{"result", "fine"}}, session.json);
    return {};
  }
  static Outcome<> show(Session& session, const std::string& requested) {
    const auto text = of(session, requested, "running");
    if (!text) return std::unexpected(text.error());
    const Description settings = parse(*text);
    if (session.json != JsonStyle::off) {
      nlohmann::ordered_json json;
      for (const auto& [name, one] : settings)
        json[name] = {{"value", one.value}, {"origin", one.origin}};
      *session.out << format_json(json, session.json);
      return {};
    }
    std::vector<std::vector<std::string>> rows;
    for (const auto& [name, one] : settings)
      rows.push_back({name, printable(one.value, 500), printable(one.origin, 500)});
    *session.out << format_table({{"SETTING"}, {"VALUE"}, {"ORIGIN"}}, rows, session.has_legend);
    return {};
  }
  static Outcome<> diff(Session& session, const std::string& requested) {
    const auto site = session.site(requested);
    if (!site) return std::unexpected(site.error());
    const auto running = (*session.client())->settings(*site, "running");
    if (!running) return std::unexpected(running.error());
    const auto disk = (*session.client())->settings(*site, "disk");
    if (!disk) return std::unexpected(disk.error());
    const Description before = parse(*running);
    Description after = parse(*disk);
    auto list = nlohmann::ordered_json::array();
    std::vector<std::vector<std::string>> rows;
    for (const auto& [name, one] : before) {
      const Described& now = after[name];
      if (now.value == one.value) continue;
      const Setting* const setting = find_setting(name);
      const bool needs_restart = setting != nullptr && setting->scope == SettingScope::restart;
      rows.push_back({name, printable(one.value, 500), printable(now.value, 500),
                      needs_restart ? "restart" : "reload", printable(now.origin, 500)});
      list.push_back({{"setting", name},
                      {"running", one.value},
                      {"disk", now.value},
                      {"takes", needs_restart ? "restart" : "reload"},
                      {"origin", now.origin}});
    }
    if (session.json != JsonStyle::off)
      *session.out << format_json(list, session.json);
    else if (rows.empty() && !session.is_quiet)
      *session.out << "What runs is what is on disk.\n";
    else if (!rows.empty())
      *session.out << format_table({{"SETTING"}, {"RUNNING"}, {"ON DISK"}, {"TAKES"}, {"ORIGIN"}},
                                   rows, session.has_legend);
    return {};
  }

  std::vector<std::string> words_;
};

}  // namespace

std::unique_ptr<Verb> make_config() { return std::make_unique<Config>(); }

}  // namespace green::ctl
