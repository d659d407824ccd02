// greenctl backtrace: the Python stacks of a site's workers, which go on meanwhile.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "common/text.h"
#include "ctl/verb.h"

namespace green::ctl {
namespace {

bool is_number(const std::string& text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

std::string heading(const WorkerStatus& worker, const std::vector<RequestStatus>& requests) {
  std::string text = fmt::format("Worker {} (process {}, generation {}): ", worker.slot, worker.pid,
                                 worker.generation);
  if (worker.busy_since_usec == 0) return text + printable(worker.activity);
  text += "busy " + format_span(span_between(worker.busy_since_usec, monotonic_now_usec()));
  const auto request = std::ranges::find(requests, worker.pid, &RequestStatus::pid);
  if (request == requests.end() || request->request.empty()) return text;
  if (request->count > 1) text += fmt::format(" with {} requests, the latest", request->count);
  return text + (request->count > 1 ? " " : " with ") + printable(request->request, 250);
}

class Backtrace final : public Verb {
 public:
  Backtrace()
      : Verb("backtrace", "[SITE] [PID]",
             "Show the Python stacks of a site's workers as they run") {}
  void declare(CLI::App& command) override { command.add_option("PID", words_)->expected(0, 2); }
  bool may_page() const override { return true; }
  Outcome<> run(Session& session) override {
    if (!session.host.empty())
      return fail_with(
          exit_usage,
          fmt::format("backtrace does not work through --host: stacks come as a "
                      "descriptor, which ssh can't pass; try: ssh {} greenctl backtrace",
                      printable(session.host)));
    // A site may be called 2024: two words settle it.
    std::string pid;
    if (!words_.empty() && is_number(words_.back())) {
      pid = words_.back();
      words_.pop_back();
    }
    if (words_.size() > 1)
      return fail_with(exit_usage, fmt::format("\"{}\" is no PID; greenctl workers lists them",
                                               printable(words_.back())));
    const auto site = session.site(words_.empty() ? std::string() : words_.front());
    if (!site) return std::unexpected(site.error());
    Client& client = **session.client();
    auto workers = client.workers(*site);
    if (!workers) return std::unexpected(workers.error());
    if (!pid.empty()) {
      std::erase_if(*workers, [&pid](const WorkerStatus& worker) {
        return std::to_string(worker.pid) != pid;
      });
      if (workers->empty())
        return fail_with(exit_failure,
                         fmt::format("process {} is no worker of {}; see: greenctl workers {}", pid,
                                     *site, *site));
    }
    const auto requests = client.requests(*site);
    if (!requests) return std::unexpected(requests.error());
    return show(session, *site, *workers, *requests, !pid.empty());
  }

 private:
  /// Of one that does not answer the others still are shown; one that has ended meanwhile is no
  /// failure, unless it alone was asked for.
  static Outcome<> show(Session& session, const std::string& site,
                        const std::vector<WorkerStatus>& workers,
                        const std::vector<RequestStatus>& requests, bool one_was_asked_for) {
    auto list = nlohmann::ordered_json::array();
    std::string text;
    Outcome<> outcome;
    for (const WorkerStatus& worker : workers) {
      const auto stacks = (*session.client())->backtrace(site, worker.pid);
      const bool has_ended = !stacks && is_gone(session, site, worker.pid);
      const std::string error = stacks ? std::string()
                                : has_ended
                                    ? fmt::format("process {} has ended meanwhile", worker.pid)
                                    : stacks.error().message;
      if (has_ended && one_was_asked_for)
        outcome =
            fail_with(exit_failure,
                      fmt::format("{}; greenctl workers {} lists those there are", error, site));
      else if (!stacks && !has_ended)
        outcome = std::unexpected(stacks.error());
      list.push_back({{"worker", worker.slot},
                      {"pid", worker.pid},
                      {"stacks", stacks ? *stacks : std::string()},
                      {"error", error}});
      text += fmt::format("{}{}\n{}", text.empty() ? "" : "\n", heading(worker, requests),
                          stacks ? harmless(*stacks) : error + "\n");
    }
    *session.out << (session.json == JsonStyle::off ? text : format_json(list, session.json));
    return outcome;
  }

  static bool is_gone(Session& session, const std::string& site, std::uint32_t pid) {
    const auto workers = (*session.client())->workers(site);
    return workers && std::ranges::find(*workers, pid, &WorkerStatus::pid) == workers->end();
  }

  std::vector<std::string> words_;
};

}  // namespace

std::unique_ptr<Verb> make_backtrace() { return std::make_unique<Backtrace>(); }

}  // namespace green::ctl
