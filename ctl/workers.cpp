// greenctl workers: a line for each worker process.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "common/text.h"
#include "ctl/verb.h"

namespace green::ctl {
namespace {

nlohmann::ordered_json to_json(const std::vector<WorkerStatus>& workers) {
  auto list = nlohmann::ordered_json::array();
  const std::uint64_t now = monotonic_now_usec();
  for (const WorkerStatus& worker : workers)
    list.push_back(
        {{"worker", worker.slot},
         {"pid", worker.pid},
         {"generation", worker.generation},
         {"state", worker.state},
         {"activity", worker.activity},
         {"busy_usec",
          worker.busy_since_usec == 0 ? 0 : span_between(worker.busy_since_usec, now).count()},
         {"requests", worker.requests},
         {"connections", worker.connections},
         {"started_usec", worker.started_usec}});
  return list;
}

std::string to_table(const std::vector<WorkerStatus>& workers) {
  const std::uint64_t now = realtime_usec();
  const std::uint64_t monotonic_now = monotonic_now_usec();
  std::vector<std::vector<std::string>> rows;
  for (const WorkerStatus& worker : workers) {
    std::string activity = printable(worker.activity);
    if (worker.busy_since_usec != 0)
      activity += " " + format_span(span_between(worker.busy_since_usec, monotonic_now));
    rows.push_back({std::to_string(worker.slot), std::to_string(worker.pid),
                    std::to_string(worker.generation), printable(worker.state), activity,
                    std::to_string(worker.requests), std::to_string(worker.connections),
                    format_span(span_between(worker.started_usec, now))});
  }
  return format_table({{"WORKER", true},
                       {"PID", true},
                       {"GENERATION", true},
                       {"STATE"},
                       {"ACTIVITY"},
                       {"REQUESTS", true},
                       {"CONNECTIONS", true},
                       {"UPTIME", true}},
                      rows);
}

class Workers final : public Verb {
 public:
  Workers() : Verb("workers", "[SITE]", "List a site's worker processes") {}
  void declare(CLI::App& command) override { command.add_option("SITE", site_); }
  Outcome<> run(Session& session) override {
    const auto site = session.site(site_);
    if (!site) return std::unexpected(site.error());
    const auto workers = (*session.client())->workers(*site);
    if (!workers) return std::unexpected(workers.error());
    *session.out << (session.json == JsonStyle::off ? to_table(*workers)
                                                    : format_json(to_json(*workers), session.json));
    return {};
  }

 private:
  std::string site_;
};

}  // namespace

std::unique_ptr<Verb> make_workers() { return std::make_unique<Workers>(); }

}  // namespace green::ctl
