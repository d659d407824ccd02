// greenctl reload: new code in a new generation; the old one serves until the new one does.
#include "ctl/job.h"

namespace green::ctl {
namespace {

class Reload final : public Verb {
 public:
  Reload()
      : Verb("reload", "[SITE]",
             "Load a site's code and settings anew, and wait until they serve") {}
  void declare(CLI::App& command) override {
    command.add_option("SITE", site_);
    job_.declare(command);
  }
  Outcome<> run(Session& session) override {
    auto wait = job_.wait();
    if (!wait) return std::unexpected(wait.error());
    const auto site = session.site(site_);
    if (!site) return std::unexpected(site.error());
    session.expect_questions();
    const auto outcome = [&] {
      Progress progress(session);
      wait->on_phase = progress.listener();
      return (*session.client())->reload(*site, *wait);
    }();
    if (!outcome) return std::unexpected(outcome.error());
    return report_job(session, *site, "reload", *outcome);
  }

 private:
  std::string site_;
  JobOptions job_;
};

}  // namespace

std::unique_ptr<Verb> make_reload() { return std::make_unique<Reload>(); }

}  // namespace green::ctl
