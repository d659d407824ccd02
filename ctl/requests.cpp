// greenctl requests: what a site's workers are answering now.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "common/text.h"
#include "ctl/verb.h"

namespace green::ctl {
namespace {

std::pair<std::string, std::string> method_and_path(const std::string& request) {
  const auto space = request.find(' ');
  if (space == std::string::npos) return {request, {}};
  return {request.substr(0, space), request.substr(space + 1)};
}

/// Those of a worker that are not listed, as one row.
bool is_rest(const RequestStatus& request) { return request.state == "more"; }
/// Of a worker that did not answer: what is known without it.
bool is_unanswered(const RequestStatus& request) { return request.state == "unanswered"; }

std::string client_of(const RequestStatus& request) {
  if (request.request.empty()) return "-";
  return request.client.empty() ? "local" : printable(request.client);
}

std::string path_of(const RequestStatus& one, const std::string& path) {
  if (is_rest(one)) return fmt::format("({} more)", one.count);
  if (one.count <= 1) return path.empty() ? "-" : printable(path, 200);
  return printable(path, 200) + (is_unanswered(one) ? fmt::format(" (the latest of {})", one.count)
                                                    : fmt::format(" (and {} more)", one.count - 1));
}

std::string notes(const std::vector<RequestStatus>& requests) {
  std::string text;
  for (const RequestStatus& one : requests)
    if (is_unanswered(one))
      text += fmt::format(
          "{}Worker {} (process {}) did not answer: its loop is held up, or it is "
          "stopped; see: greenctl backtrace {}\n",
          text.empty() ? "\n" : "", one.slot, one.pid, one.pid);
  return text;
}

nlohmann::ordered_json to_json(const std::vector<RequestStatus>& requests, std::uint64_t now) {
  auto list = nlohmann::ordered_json::array();
  for (const RequestStatus& one : requests) {
    const auto [method, path] = method_and_path(one.request);
    list.push_back({{"worker", one.slot},
                    {"pid", one.pid},
                    {"generation", one.generation},
                    {"age_usec", json_age(one.since_usec, now)},
                    {"requests", one.count},
                    {"method", method},
                    {"path", path},
                    {"client", one.client},
                    {"state", one.state}});
  }
  return list;
}

std::string to_table(const std::vector<RequestStatus>& requests, std::uint64_t now,
                     bool has_legend) {
  std::vector<std::vector<std::string>> rows;
  for (const RequestStatus& one : requests) {
    const auto [method, path] = method_and_path(one.request);
    rows.push_back({format_age(one.since_usec, now), std::to_string(one.slot),
                    std::to_string(one.pid), method.empty() ? "-" : printable(method),
                    path_of(one, path), client_of(one), printable(one.state)});
  }
  return format_table({{"AGE", true},
                       {"WORKER", true},
                       {"PID", true},
                       {"METHOD"},
                       {"PATH"},
                       {"CLIENT"},
                       {"STATE"}},
                      rows, has_legend) +
         (has_legend ? notes(requests) : std::string());
}

class Requests final : public Verb {
 public:
  Requests() : Verb("requests", "[SITE]", "List what a site is answering now") {}
  void declare(CLI::App& command) override { command.add_option("SITE", site_); }
  bool may_page() const override { return true; }
  Outcome<> run(Session& session) override {
    const auto site = session.site(site_);
    if (!site) return std::unexpected(site.error());
    auto requests = (*session.client())->all_requests(*site);
    if (!requests) return std::unexpected(requests.error());
    // The oldest first: that is the one somebody looks for.
    std::ranges::stable_sort(*requests, {}, [](const RequestStatus& one) {
      return one.since_usec == 0 ? UINT64_MAX : one.since_usec;
    });
    const auto now = (*session.client())->monotonic_usec(*site);
    if (!now) return std::unexpected(now.error());
    *session.out << (session.json == JsonStyle::off
                         ? to_table(*requests, *now, session.has_legend)
                         : format_json(to_json(*requests, *now), session.json));
    return {};
  }

 private:
  std::string site_;
};

}  // namespace

std::unique_ptr<Verb> make_requests() { return std::make_unique<Requests>(); }

}  // namespace green::ctl
