#include "ctl/job.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "common/text.h"

namespace green::ctl {

void JobOptions::declare(CLI::App& command) {
  auto* wait = command.add_flag("--wait", is_waiting_, "Wait until it is done (the default)");
  auto* no_block = command.add_flag("--no-block", is_not_blocking_, "Only start it");
  auto* timeout = command
                      .add_option("--timeout", timeout_,
                                  "Wait no longer than this: seconds, or 500ms, 2min, 1h")
                      ->type_name("TIME");
  no_block->excludes(wait);
  timeout->excludes(no_block);
}

Outcome<JobWait> JobOptions::wait() const {
  JobWait wait{.is_wanted = !is_not_blocking_};
  if (timeout_.empty()) return wait;
  const auto timeout = parse_duration(timeout_);
  if (!timeout)
    return fail_with(exit_usage, fmt::format("--timeout={}: {}", printable(timeout_),
                                             timeout.error().message()));
  if (*timeout <= Microseconds(0))
    return fail_with(exit_usage,
                     fmt::format("--timeout={}: must be more than 0", printable(timeout_)));
  wait.timeout = *timeout;
  return wait;
}

Progress::Progress(Session& session)
    : stream_(session.json == JsonStyle::off && !session.is_quiet ? session.progress : nullptr) {}

std::function<void(const std::string&)> Progress::listener() {
  if (stream_ == nullptr) return {};
  return [this](const std::string& phase) {
    *stream_ << (is_begun_ ? " " : "") << printable(phase) << "…" << std::flush;
    is_begun_ = true;
  };
}

Progress::~Progress() {
  if (is_begun_) *stream_ << "\n" << std::flush;
}

Outcome<> report_job(Session& session, const std::string& site, std::string_view doing,
                     const JobOutcome& outcome) {
  if (session.json != JsonStyle::off) {
    const nlohmann::ordered_json json = {
        {"site", site},
        {"job", outcome.job},
        {"result", outcome.result.empty() ? "started" : outcome.result},
        {"message", outcome.message}};
    *session.out << format_json(json, session.json);
  }
  if (outcome.result.empty() || outcome.result == "done") {
    if (session.json == JsonStyle::off && !outcome.message.empty() && !session.is_quiet)
      *session.out << harmless(outcome.message) << "\n";
    return {};
  }
  std::string text = harmless(outcome.message);
  while (text.ends_with('\n')) text.pop_back();
  const bool is_failure = outcome.result == "failed";
  const std::string what = fmt::format("{}: {} {}", site, doing,
                                       is_failure ? "failed" : "was " + printable(outcome.result));
  const std::string comfort = is_failure && (doing == "reload" || doing == "reexec")
                                  ? "; what served before still serves"
                                  : "";
  // The sentence comes last: it is what stays in sight after a long traceback.
  if (text.find('\n') != std::string::npos)
    return fail_with(exit_failure, fmt::format("{}\n{}{}", text, what, comfort));
  return fail_with(exit_failure, what + (text.empty() ? "" : ": " + text) + comfort);
}

}  // namespace green::ctl
