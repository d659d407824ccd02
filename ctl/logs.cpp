// greenctl logs: the journal of a site.
#include <fmt/format.h>
#include <signal.h>

#include "common/text.h"
#include "ctl/child.h"
#include "ctl/journal.h"
#include "ctl/verb.h"

namespace green::ctl {

std::vector<std::string> journal_command(const Session& session, const std::string& site) {
  const bool is_user = session.bus == "user";
  std::vector<std::string> command;
  if (!session.host.empty()) command = {"ssh", "--", session.host};
  command.emplace_back("journalctl");
  command.push_back(fmt::format("{}=green@{}.service", is_user ? "--user-unit" : "--unit", site));
  return command;
}

namespace {

class Logs final : public Verb {
 public:
  Logs() : Verb("logs", "[SITE]", "Show a site's journal") {}
  void declare(CLI::App& command) override {
    command.add_option("SITE", site_);
    command.add_flag("-f,--follow", is_following_, "Go on with what comes");
    command.add_option("-n,--lines", lines_, "Only the last lines")->type_name("N");
    command.add_option("-p,--priority", priority_, "Only entries of this level or worse")
        ->type_name("LEVEL");
    command.add_option("--since", since_, "Only entries since then")->type_name("TIME");
  }
  Outcome<> run(Session& session) override {
    // The journal is there when the site is not: only a name that nobody gave is asked of the bus.
    std::string site = site_;
    if (site.empty()) {
      auto only = session.site(site);
      if (!only) return std::unexpected(only.error());
      site = std::move(*only);
    } else if (!is_valid_site_name(site)) {
      return fail_with(
          exit_no_site,
          fmt::format("\"{}\" cannot be a site's name; greenctl list shows them", printable(site)));
    }
    auto command = journal_command(session, site);
    if (is_following_) command.emplace_back("--follow");
    if (!session.has_pager || session.json != JsonStyle::off) command.emplace_back("--no-pager");
    if (session.is_quiet) command.emplace_back("--quiet");
    if (session.json != JsonStyle::off)
      command.emplace_back(session.json == JsonStyle::pretty ? "--output=json-pretty"
                                                             : "--output=json");
    const auto add = [&command](const char* option, const std::string& value) {
      if (!value.empty()) command.push_back(fmt::format("{}={}", option, value));
    };
    add("--lines", lines_);
    add("--priority", priority_);
    // ssh hands words to a shell.
    add("--since", session.host.empty() || since_.empty() ? since_ : fmt::format("'{}'", since_));
    session.out->flush();
    const int status = run_attached(command);
    // By a key, or by a reader that has seen enough.
    if (status == 0 || status == 128 + SIGINT || status == 128 + SIGPIPE) return {};
    return fail_with(exit_failure, fmt::format("{} ended with status {}; try: {} --lines=10",
                                               command.front(), status, command.front()));
  }

 private:
  std::string site_, lines_, priority_, since_;
  bool is_following_ = false;
};

}  // namespace

std::unique_ptr<Verb> make_logs() { return std::make_unique<Logs>(); }

}  // namespace green::ctl
