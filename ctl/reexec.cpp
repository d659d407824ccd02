// greenctl reexec: greend itself by the binary on disk, in its process, then the workers.
#include "ctl/job.h"

namespace green::ctl {
namespace {

class Reexec final : public Verb {
 public:
  Reexec()
      : Verb("reexec", "[SITE]",
             "Replace a site's greend by the one that is installed now, then its workers") {}
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
      return (*session.client())->reexec(*site, *wait);
    }();
    if (!outcome) return std::unexpected(outcome.error());
    return report_job(session, *site, "reexec", *outcome);
  }

 private:
  std::string site_;
  JobOptions job_;
};

}  // namespace

std::unique_ptr<Verb> make_reexec() { return std::make_unique<Reexec>(); }

}  // namespace green::ctl
