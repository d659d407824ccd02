// greenctl recycle: workers replaced by new ones, one after the other; each finishes what it has.
#include <fmt/format.h>

#include <charconv>

#include "common/text.h"
#include "ctl/job.h"

namespace green::ctl {
namespace {

/// 0 stands for all.
Outcome<std::uint32_t> parse_pid(const std::string& text) {
  std::uint32_t pid = 0;
  if (text == "all") return pid;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), pid);
  if (error != std::errc{} || end != text.data() + text.size() || pid == 0)
    return fail_with(exit_usage,
                     fmt::format("\"{}\" is no worker: give a PID that greenctl workers "
                                 "lists, or all",
                                 printable(text)));
  return pid;
}

class Recycle final : public Verb {
 public:
  Recycle() : Verb("recycle", "[SITE] PID|all", "Replace workers by new ones, without a gap") {}
  void declare(CLI::App& command) override {
    command.add_option("PID", words_)->required()->expected(1, 2);
    job_.declare(command);
  }
  Outcome<> run(Session& session) override {
    const auto wait = job_.wait();
    if (!wait) return std::unexpected(wait.error());
    const auto pid = parse_pid(words_.back());
    if (!pid) return std::unexpected(pid.error());
    const auto site = session.site(words_.size() == 2 ? words_.front() : std::string());
    if (!site) return std::unexpected(site.error());
    session.expect_questions();
    const auto outcome = (*session.client())->recycle(*site, *pid, *wait);
    if (!outcome) return std::unexpected(outcome.error());
    return report_job(session, *site, "recycle", *outcome);
  }

 private:
  std::vector<std::string> words_;
  JobOptions job_;
};

}  // namespace

std::unique_ptr<Verb> make_recycle() { return std::make_unique<Recycle>(); }

}  // namespace green::ctl
