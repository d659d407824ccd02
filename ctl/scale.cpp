// greenctl scale: another number of workers, without a restart.
#include <fmt/format.h>

#include <charconv>

#include "common/settings.h"
#include "common/text.h"
#include "ctl/job.h"

namespace green::ctl {
namespace {

Outcome<std::uint32_t> parse_count(const std::string& text) {
  // The bounds of the setting are the bounds here.
  const Setting& setting = *find_setting("workers");
  std::uint32_t count = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  if (text.empty() || error != std::errc{} || end != text.data() + text.size() ||
      count < setting.minimum || count > setting.maximum)
    return fail_with(
        exit_usage, fmt::format("\"{}\" is no number of workers: give one between {} and {}, as in "
                                "greenctl scale [SITE] N",
                                printable(text), setting.minimum, setting.maximum));
  return count;
}

class Scale final : public Verb {
 public:
  Scale() : Verb("scale", "[SITE] N", "Set a site's number of workers, until it is restarted") {}
  void declare(CLI::App& command) override {
    command.add_option("N", words_)->required()->expected(1, 2);
    job_.declare(command);
  }
  Outcome<> run(Session& session) override {
    const auto wait = job_.wait();
    if (!wait) return std::unexpected(wait.error());
    const auto count = parse_count(words_.back());
    if (!count) return std::unexpected(count.error());
    const auto site = session.site(words_.size() == 2 ? words_.front() : std::string());
    if (!site) return std::unexpected(site.error());
    const auto outcome = (*session.client())->scale(*site, *count, *wait);
    if (!outcome) return std::unexpected(outcome.error());
    return report_job(session, *site, "scale", *outcome);
  }

 private:
  std::vector<std::string> words_;
  JobOptions job_;
};

}  // namespace

std::unique_ptr<Verb> make_scale() { return std::make_unique<Scale>(); }

}  // namespace green::ctl
