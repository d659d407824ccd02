// greenctl workers: a line for each worker process.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "common/text.h"
#include "ctl/verb.h"

namespace green::ctl {
namespace {

nlohmann::ordered_json to_json(const std::vector<WorkerStatus>& workers, std::uint64_t now) {
  auto list = nlohmann::ordered_json::array();
  for (const WorkerStatus& worker : workers)
    list.push_back({{"worker", worker.slot},
                    {"pid", worker.pid},
                    {"generation", worker.generation},
                    {"state", worker.state},
                    {"activity", worker.activity},
                    {"busy_usec", json_age(worker.busy_since_usec, now)},
                    {"requests", worker.requests},
                    {"connections", worker.connections},
                    {"in_flight", worker.in_flight},
                    {"rss_bytes", worker.rss_bytes},
                    {"pss_bytes", worker.pss_bytes},
                    {"cpu_usec", worker.cpu_nsec / 1000},
                    {"started_usec", worker.started_usec}});
  return list;
}

std::string to_table(const std::vector<WorkerStatus>& workers, std::uint64_t monotonic_now,
                     bool has_legend) {
  const std::uint64_t now = realtime_usec();
  std::vector<std::vector<std::string>> rows;
  for (const WorkerStatus& worker : workers) {
    std::string activity = printable(worker.activity);
    if (worker.busy_since_usec != 0)
      activity += " " + format_age(worker.busy_since_usec, monotonic_now);
    rows.push_back({std::to_string(worker.slot), std::to_string(worker.pid),
                    std::to_string(worker.generation), printable(worker.state), activity,
                    std::to_string(worker.requests), std::to_string(worker.connections),
                    format_size(worker.rss_bytes), format_size(worker.pss_bytes),
                    format_span(Microseconds(static_cast<std::int64_t>(worker.cpu_nsec / 1000))),
                    format_span(span_between(worker.started_usec, now))});
  }
  return format_table({{"WORKER", true},
                       {"PID", true},
                       {"GENERATION", true},
                       {"STATE"},
                       {"ACTIVITY"},
                       {"REQUESTS", true},
                       {"CONNECTIONS", true},
                       {"RSS", true},
                       {"PSS", true},
                       {"CPU", true},
                       {"UPTIME", true}},
                      rows, has_legend);
}

class Workers final : public Verb {
 public:
  Workers() : Verb("workers", "[SITE]", "List a site's worker processes") {}
  void declare(CLI::App& command) override { command.add_option("SITE", site_); }
  bool may_page() const override { return true; }
  Outcome<> run(Session& session) override {
    const auto site = session.site(site_);
    if (!site) return std::unexpected(site.error());
    const auto workers = (*session.client())->workers(*site);
    if (!workers) return std::unexpected(workers.error());
    const auto now = (*session.client())->monotonic_usec(*site);
    if (!now) return std::unexpected(now.error());
    *session.out << (session.json == JsonStyle::off
                         ? to_table(*workers, *now, session.has_legend)
                         : format_json(to_json(*workers, *now), session.json));
    return {};
  }

 private:
  std::string site_;
};

}  // namespace

std::unique_ptr<Verb> make_workers() { return std::make_unique<Workers>(); }

}  // namespace green::ctl
