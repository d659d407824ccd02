// greenctl status: one site on one page.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "common/text.h"
#include "ctl/child.h"
#include "ctl/journal.h"
#include "ctl/verb.h"

namespace green::ctl {
namespace {

nlohmann::ordered_json to_json(const SiteStatus& status) {
  return {{"site", status.site},
          {"application", status.application},
          {"state", status.state},
          {"status_text", status.status_text},
          {"generation", status.generation},
          {"started_usec", status.started_usec},
          {"target_workers", status.target_workers},
          {"ready_workers", status.ready_workers},
          {"busy_workers", status.busy_workers},
          {"draining_workers", status.draining_workers},
          {"worker_deaths", status.worker_deaths},
          {"requests", status.requests},
          {"listeners", status.listeners},
          {"main_pid", status.main_pid},
          {"version", status.version},
          {"config_file", status.config_file},
          {"config_hash", status.config_hash},
          {"last_reload_result", status.last_reload_result},
          {"last_reload_usec", status.last_reload_usec}};
}

Colour colour_of(const SiteStatus& status) {
  if (status.ready_workers == 0) return Colour::red;
  return status.state == "serving" && status.ready_workers >= status.target_workers
             ? Colour::green
             : Colour::yellow;
}

std::string to_page(const SiteStatus& status, bool has_colour) {
  const Colour colour = colour_of(status);
  const std::uint64_t now = realtime_usec();
  std::string page = fmt::format("{} {} — {}\n", paint("●", colour, has_colour), status.site,
                                 printable(status.application));
  const auto line = [&page](std::string_view label, std::string_view text) {
    page += fmt::format("{:>12}: {}\n", label, text);
  };
  line("State", fmt::format("{} (generation {}) since {}; {} ago",
                            paint(printable(status.state), colour, has_colour), status.generation,
                            format_timestamp(status.started_usec),
                            format_span(span_between(status.started_usec, now))));
  if (!status.status_text.empty()) line("Status", printable(status.status_text, 500));
  line("Workers", fmt::format("{} of {} ready, {} busy{}", status.ready_workers,
                              status.target_workers, status.busy_workers,
                              status.draining_workers == 0
                                  ? ""
                                  : fmt::format(", {} draining", status.draining_workers)));
  if (status.worker_deaths != 0) line("Deaths", fmt::format("{} workers", status.worker_deaths));
  line("Requests", fmt::format("{}", status.requests));
  // One a line, the first beside the label.
  for (std::size_t i = 0; i < status.listeners.size(); ++i)
    page += fmt::format("{:>12}{} {}\n", i == 0 ? "Listeners" : "", i == 0 ? ':' : ' ',
                        printable(status.listeners[i], 200));
  line("Process", fmt::format("{} (greend {})", status.main_pid, printable(status.version)));
  line("Config file", status.config_file.empty() ? "none" : printable(status.config_file, 500));
  if (!status.last_reload_result.empty())
    line("Last reload",
         fmt::format(
             "{}, {} ago",
             paint(printable(status.last_reload_result),
                   status.last_reload_result == "failed" ? Colour::red : Colour::none, has_colour),
             format_span(span_between(status.last_reload_usec, now))));
  return page;
}

class Status final : public Verb {
 public:
  Status() : Verb("status", "[SITE]", "Show what a site is doing") {}
  void declare(CLI::App& command) override {
    command.add_option("SITE", site_);
    command.add_option("-n,--lines", lines_, "How many lines of the journal, 10 if not given")
        ->type_name("N")
        ->check(CLI::NonNegativeNumber);
  }
  bool may_page() const override { return true; }
  Outcome<> run(Session& session) override {
    const auto site = session.site(site_);
    if (!site) return std::unexpected(site.error());
    const auto status = (*session.client())->status(*site);
    if (!status) return std::unexpected(status.error());
    *session.out << (session.json == JsonStyle::off ? to_page(*status, session.has_colour)
                                                    : format_json(to_json(*status), session.json));
    if (session.json == JsonStyle::off) *session.out << last_lines(session, *site);
    return {};
  }

 private:
  /// What the journal has of it, under an empty line; nothing where there is no journal of it.
  std::string last_lines(const Session& session, const std::string& site) const {
    if (lines_ == 0 || (session.bus != "system" && session.bus != "user")) return {};
    auto command = journal_command(session, site);
    for (const char* const word : {"--no-pager", "--quiet", "--output=short"})
      command.emplace_back(word);
    command.push_back(fmt::format("--lines={}", lines_));
    const std::string text = output_of(command);
    return text.empty() ? std::string() : "\n" + harmless(text);
  }

  std::string site_;
  int lines_ = 10;
};

}  // namespace

std::unique_ptr<Verb> make_status() { return std::make_unique<Status>(); }

}  // namespace green::ctl
