// greenctl drain and undrain: a site that finishes what it has and takes nothing new, and back.
#include "ctl/job.h"

namespace green::ctl {
namespace {

class Traffic final : public Verb {
 public:
  using Method = Outcome<JobOutcome> (Client::*)(const std::string&, const JobWait&);
  Traffic(const char* name, const char* help, Method method)
      : Verb(name, "[SITE]", help), method_(method) {}
  void declare(CLI::App& command) override {
    command.add_option("SITE", site_);
    job_.declare(command);
  }
  Outcome<> run(Session& session) override {
    const auto wait = job_.wait();
    if (!wait) return std::unexpected(wait.error());
    const auto site = session.site(site_);
    if (!site) return std::unexpected(site.error());
    session.expect_questions();
    const auto outcome = ((*session.client())->*method_)(*site, *wait);
    if (!outcome) return std::unexpected(outcome.error());
    return report_job(session, *site, name(), *outcome);
  }

 private:
  Method method_;
  std::string site_;
  JobOptions job_;
};

}  // namespace

std::unique_ptr<Verb> make_drain() {
  return std::make_unique<Traffic>("drain", "Finish what a site is answering; new connections wait",
                                   &Client::drain);
}
std::unique_ptr<Verb> make_undrain() {
  return std::make_unique<Traffic>("undrain", "Serve again after drain", &Client::undrain);
}

}  // namespace green::ctl
