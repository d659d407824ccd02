// greenctl scale: another number of workers, without a restart.
#include <fmt/format.h>

#include <charconv>
#include <cstdlib>

#include "common/settings.h"
#include "common/text.h"
#include "ctl/job.h"

namespace green::ctl {
namespace {

/// "8", or relative to what there is, "+2" and "-2".
struct Count {
  std::int64_t number = 0;
  bool is_relative = false;
};

/// The bounds of the setting are the bounds here.
Failure out_of_bounds(std::string_view text) {
  const Setting& setting = *find_setting("workers");
  return {exit_usage,
          fmt::format("\"{}\" is no number of workers: give one between {} and {}, as in "
                      "greenctl scale [SITE] N, or a difference, +N or -N",
                      printable(text), setting.minimum, setting.maximum)};
}

Outcome<Count> parse_count(const std::string& text) {
  const Setting& setting = *find_setting("workers");
  Count count{.number = 0, .is_relative = text.starts_with('+') || text.starts_with('-')};
  const char* const begin = text.data() + (text.starts_with('+') ? 1 : 0);
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(begin, end, count.number);
  const bool is_number = begin != end && error == std::errc{} && stop == end;
  const bool is_possible = count.is_relative
                               ? std::abs(count.number) <= setting.maximum
                               : count.number >= setting.minimum && count.number <= setting.maximum;
  if (!is_number || text.starts_with("+-") || !is_possible)
    return std::unexpected(out_of_bounds(text));
  return count;
}

/// How many that is of a site that has `target` of them.
Outcome<std::uint32_t> resolve(const Count& count, std::uint32_t target) {
  const Setting& setting = *find_setting("workers");
  const std::int64_t wanted = count.is_relative ? target + count.number : count.number;
  if (wanted < setting.minimum || wanted > setting.maximum)
    return std::unexpected(out_of_bounds(std::to_string(wanted)));
  return static_cast<std::uint32_t>(wanted);
}

class Scale final : public Verb {
 public:
  Scale()
      : Verb("scale", "[SITE] N|+N|-N", "Set a site's number of workers, until it is restarted") {}
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
    session.expect_questions();
    std::uint32_t target = 0;
    if (count->is_relative) {
      const auto status = (*session.client())->status(*site);
      if (!status) return std::unexpected(status.error());
      target = status->target_workers;
    }
    const auto wanted = resolve(*count, target);
    if (!wanted) return std::unexpected(wanted.error());
    const auto outcome = (*session.client())->scale(*site, *wanted, *wait);
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
