// greenctl wait: until a site is ready, or idle.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "common/text.h"
#include "ctl/site.h"
#include "ctl/verb.h"

namespace green::ctl {
namespace {

using Clock = std::chrono::steady_clock;

/// Counters emit no signal: they are looked at this often.
constexpr Microseconds look_interval = std::chrono::milliseconds(200);

class Wait final : public Verb {
 public:
  Wait() : Verb("wait", "[SITE]", "Wait until a site is ready, or idle") {}
  void declare(CLI::App& command) override {
    command.add_option("SITE", site_);
    command
        .add_option("--until", until_,
                    "ready (the default): all its workers serve; idle: it "
                    "answers nothing")
        ->type_name("STATE");
    command.add_option("--timeout", timeout_, "Wait no longer than this: seconds, or 500ms, 2min")
        ->type_name("TIME");
  }
  Outcome<> run(Session& session) override {
    if (until_ != "ready" && until_ != "idle")
      return fail_with(exit_usage,
                       fmt::format("--until={}: must be ready or idle", printable(until_)));
    auto deadline = Clock::time_point::max();
    if (!timeout_.empty()) {
      const auto timeout = parse_duration(timeout_);
      if (!timeout)
        return fail_with(exit_usage, fmt::format("--timeout={}: {}", printable(timeout_),
                                                 timeout.error().message()));
      deadline = Clock::now() + *timeout;
    }
    auto client = session.client();
    if (!client) return std::unexpected(client.error());
    while (true) {
      const auto reached = look(session, **client);
      if (!reached) return std::unexpected(reached.error());
      if (*reached) return {};
      if (Clock::now() >= deadline)
        return fail_with(exit_failure,
                         fmt::format("{} was not {} in time; see: greenctl status{}{}",
                                     site_.empty() ? "the site" : site_, until_,
                                     site_.empty() ? "" : " ", site_));
      if (const auto waited = (*client)->wait_for_change(look_interval); !waited)
        return std::unexpected(waited.error());
    }
  }

 private:
  /// A site that does not run yet is waited for; any other failure ends the waiting.
  Outcome<bool> look(Session& session, Client& client) const {
    const auto site = session.site(site_);
    if (!site) {
      if (site.error().status == exit_not_running) return false;
      return std::unexpected(site.error());
    }
    const auto status = client.status(*site);
    if (!status) {
      if (status.error().status == exit_not_running) return false;
      return std::unexpected(status.error());
    }
    if (until_ == "ready")
      return status->state == "serving" && status->ready_workers >= status->target_workers;
    const auto workers = client.workers(*site);
    if (!workers) return std::unexpected(workers.error());
    return status->busy_workers == 0 &&
           std::ranges::all_of(*workers, [](const auto& worker) { return worker.in_flight == 0; });
  }

  std::string site_, timeout_;
  std::string until_ = "ready";
};

}  // namespace

std::unique_ptr<Verb> make_wait() { return std::make_unique<Wait>(); }

}  // namespace green::ctl
