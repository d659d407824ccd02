// greenctl list: every site this host knows: running, or by its unit, or by its settings file.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "common/text.h"
#include "ctl/verb.h"

namespace green::ctl {
namespace {

struct KnownSite {
  std::optional<SiteStatus> status{};
  std::string state = "inactive";
  std::string problem{};
};
using KnownSites = std::map<std::string, KnownSite>;

/// "green@shop.service" → "shop"
std::string site_of_unit(std::string_view unit) {
  constexpr std::string_view prefix = "green@";
  if (!unit.starts_with(prefix)) return {};
  unit.remove_prefix(prefix.size());
  std::string site(unit.substr(0, unit.rfind('.')));
  return is_valid_site_name(site) ? site : std::string();
}

void add_configured(KnownSites& sites) {
  std::error_code ignored;  // no folder: no sites
  for (const auto& entry : std::filesystem::directory_iterator(config_directory, ignored))
    if (entry.path().extension() == ".toml")
      if (const std::string site = entry.path().stem().string(); is_valid_site_name(site))
        sites[site];
}

void add_units(KnownSites& sites, Client& client) {
  for (const UnitStatus& unit : client.units()) {
    const std::string site = site_of_unit(unit.name);
    if (site.empty()) continue;
    KnownSite& known = sites[site];
    if (unit.name.ends_with(".service")) {
      if (unit.active_state != "inactive") known.state = unit.active_state;
    } else if (unit.active_state == "active" && known.state == "inactive") {
      known.state = "listening";
    }
  }
}

Colour colour_of(const KnownSite& site) {
  if (!site.problem.empty() || site.state == "failed") return Colour::red;
  if (!site.status) return Colour::none;
  if (site.status->ready_workers == 0) return Colour::red;
  return site.state == "serving" ? Colour::green : Colour::yellow;
}

nlohmann::ordered_json to_json(const KnownSites& sites) {
  auto list = nlohmann::ordered_json::array();
  for (const auto& [name, site] : sites) {
    nlohmann::ordered_json entry = {{"site", name}, {"state", site.state}};
    if (site.status) {
      entry["application"] = site.status->application;
      entry["generation"] = site.status->generation;
      entry["ready_workers"] = site.status->ready_workers;
      entry["target_workers"] = site.status->target_workers;
      entry["busy_workers"] = site.status->busy_workers;
      entry["requests"] = site.status->requests;
    }
    if (!site.problem.empty()) entry["problem"] = site.problem;
    list.push_back(std::move(entry));
  }
  return list;
}

std::string to_table(const KnownSites& sites, const Session& session) {
  std::vector<std::vector<std::string>> rows;
  std::vector<Colour> colours;
  for (const auto& [name, site] : sites) {
    colours.push_back(colour_of(site));
    if (site.status)
      rows.push_back({name, printable(site.state), std::to_string(site.status->generation),
                      fmt::format("{}/{}", site.status->ready_workers, site.status->target_workers),
                      std::to_string(site.status->busy_workers),
                      std::to_string(site.status->requests), printable(site.status->application)});
    else
      rows.push_back({name, printable(site.state), "-", "-", "-", "-", "-"});
  }
  return format_table({{"SITE"},
                       {"STATE"},
                       {"GENERATION", true},
                       {"WORKERS", true},
                       {"BUSY", true},
                       {"REQUESTS", true},
                       {"APPLICATION"}},
                      rows, session.has_legend,
                      session.has_colour ? colours : std::vector<Colour>());
}

class List final : public Verb {
 public:
  List() : Verb("list", "", "List all sites of this host, also those that do not run") {}
  void declare(CLI::App&) override {}
  bool may_page() const override { return true; }
  Outcome<> run(Session& session) override {
    auto client = session.client();
    if (!client) return std::unexpected(client.error());
    const auto running = (*client)->running_sites();
    if (!running) return std::unexpected(running.error());
    KnownSites sites;
    if (session.host.empty() && session.bus == "system") add_configured(sites);
    add_units(sites, **client);
    for (const std::string& name : *running) {
      KnownSite& site = sites[name];
      const auto squatter = (*client)->find_squatter(name);
      if (squatter && !squatter->empty()) {
        site.problem = *squatter;
        site.state = "squatted";
        continue;
      }
      auto status = squatter ? (*client)->status(name) : std::unexpected(squatter.error());
      if (!status) {
        if (status.error().status == exit_not_running) continue;  // it stopped just now
        site.problem = status.error().message;
        site.state = "silent";
        continue;
      }
      site.state = status->state;
      site.status = std::move(*status);
    }
    *session.out << (session.json == JsonStyle::off ? to_table(sites, session)
                                                    : format_json(to_json(sites), session.json));
    std::vector<std::string> problems;
    for (const auto& [name, site] : sites)
      if (!site.problem.empty()) problems.push_back(site.problem);
    if (problems.empty()) return {};
    return fail_with(exit_failure, fmt::format("{}", fmt::join(problems, "\ngreenctl: ")));
  }
};

}  // namespace

std::unique_ptr<Verb> make_list() { return std::make_unique<List>(); }

}  // namespace green::ctl
