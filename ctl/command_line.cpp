#include "ctl/command_line.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <sstream>

#include "common/text.h"
#include "ctl/verb.h"

namespace green::ctl {
namespace {

/// CLI11's help without its vocabulary of types and counts.
class HelpFormatter final : public CLI::Formatter {
 public:
  explicit HelpFormatter(std::string synopsis) : synopsis_(std::move(synopsis)) {
    column_width(24);
  }
  std::string make_usage(const CLI::App*, std::string name) const override {
    return fmt::format("Usage: {} [OPTION...] {}\n", name, synopsis_);
  }
  std::string make_positionals(const CLI::App*) const override { return {}; }
  std::string make_option_name(const CLI::Option* option, bool is_positional) const override {
    const std::string name = Formatter::make_option_name(option, is_positional);
    return name.substr(0, name.find('{'));  // a flag's value when it has none: "--json{pretty}"
  }
  std::string make_option_opts(const CLI::Option* option) const override {
    return option->get_items_expected_max() == 0 ? "" : "=" + option->get_type_name();
  }

 private:
  std::string synopsis_;
};

Failure unknown_verb(const std::string& word, const std::vector<std::unique_ptr<Verb>>& verbs) {
  const auto nearest = std::ranges::min_element(
      verbs, {}, [&word](const auto& verb) { return edit_distance(word, verb->name()); });
  if (edit_distance(word, (*nearest)->name()) <= 2)
    return {exit_usage, fmt::format("unknown verb \"{}\"; did you mean \"{}\"?", printable(word),
                                    (*nearest)->name())};
  return {exit_usage,
          fmt::format("unknown verb \"{}\"; greenctl --help lists them", printable(word))};
}

/// CLI11 complains of what is missing before what is too much: a mistyped verb is both.
Failure explain(const CLI::ParseError& error, const CLI::App& app,
                const std::vector<std::unique_ptr<Verb>>& verbs) {
  const bool has_verb = !app.get_subcommands().empty();
  if (!has_verb)
    for (const std::string& word : app.remaining())
      if (!word.starts_with('-')) return unknown_verb(word, verbs);
  std::string reason = printable(error.what(), 300);
  if (!has_verb && app.remaining().empty()) reason = "no verb was given";
  return {exit_usage,
          fmt::format("{}; see: greenctl {}--help", reason,
                      has_verb ? app.get_subcommands().front()->get_name() + " " : std::string())};
}

}  // namespace

ExitStatus run_greenctl(const std::vector<std::string>& arguments, const std::string& default_bus,
                        const Streams& streams) {
  const auto refuse = [&streams](const Failure& failure) {
    streams.err << "greenctl: " << failure.message << "\n";
    return failure.status;
  };

  Session session;
  session.bus = default_bus;
  session.has_colour = streams.has_colour;
  session.out = &streams.out;
  if (streams.err_is_terminal) session.progress = &streams.err;
  std::string json;

  CLI::App app(
      "Steers sites that greend serves. Without SITE: the one that is running. greenctl VERB "
      "--help says more.",
      "greenctl");
  app.set_version_flag("--version", fmt::format("greenctl {}", version));
  app.formatter(std::make_shared<HelpFormatter>("VERB ..."));
  app.require_subcommand(1);
  app.fallthrough();  // options may follow the verb
  app.add_option("--bus", session.bus,
                 "system, user or a D-Bus address (default: $GREEN_BUS, system)")
      ->type_name("BUS");
  bool is_of_user = false;
  bool has_no_legend = false;
  bool has_no_pager = false;
  bool asks_no_password = false;
  app.add_flag("--user", is_of_user, "Sites of this user: the same as --bus=user")
      ->excludes("--bus");
  app.add_option("-H,--host", session.host, "Sites of another machine, by ssh")
      ->type_name("[USER@]HOST")
      ->excludes("--bus")
      ->excludes("--user");
  app.add_flag("--json{pretty}", json, "Write JSON; --json=short: on one line");
  app.add_flag("-q,--quiet", session.is_quiet, "Say nothing when all went well");
  app.add_flag("--no-legend", has_no_legend, "No heading above tables");
  app.add_flag("--no-pager", has_no_pager, "Do not show what is long by a pager");
  app.add_flag("--no-ask-password", asks_no_password, "Do not ask for authentication");

  const auto verbs = make_verbs();
  std::map<const CLI::App*, Verb*> verb_of;
  for (const auto& verb : verbs) {
    CLI::App* command = app.add_subcommand(verb->name(), verb->help());
    command->formatter(std::make_shared<HelpFormatter>(verb->synopsis()));
    verb->declare(*command);
    verb_of[command] = verb.get();
  }

  try {
    app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
  } catch (const CLI::Success& success) {  // --help and --version end the parse this way
    app.exit(success, streams.out, streams.err);
    return exit_success;
  } catch (const CLI::ParseError& error) {
    return refuse(explain(error, app, verbs));
  }
  if (json == "pretty" || json == "short")
    session.json = json == "short" ? JsonStyle::compact : JsonStyle::pretty;
  else if (!json.empty())
    return refuse({exit_usage, fmt::format("--json={}: must be pretty or short", printable(json))});

  if (is_of_user) session.bus = "user";
  if (!session.host.empty()) session.bus = "system";
  session.has_legend = !has_no_legend;
  session.has_pager = !has_no_pager;
  session.may_ask_password = !asks_no_password;
  session.out_is_terminal = streams.out_is_terminal;

  Verb& verb = *verb_of.at(app.get_subcommands().front());
  std::ostringstream page;
  const bool is_paged = streams.out_is_terminal && session.has_pager && verb.may_page();
  if (is_paged) session.out = &page;
  const auto done = verb.run(session);
  if (is_paged && !show_by_pager(page.str())) streams.out << page.str();
  if (!done) {
    streams.out.flush();
    return refuse(done.error());
  }
  streams.out.flush();
  if (!streams.out) return refuse({exit_failure, "cannot write the output"});
  return exit_success;
}

}  // namespace green::ctl
