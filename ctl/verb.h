// What a verb of greenctl is. A new one is a file that defines make_NAME(), and a word in
// GREEN_VERBS below.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "ctl/child.h"
#include "ctl/client.h"
#include "ctl/output.h"

#define GREEN_VERBS(VERB) \
  VERB(list)              \
  VERB(status)            \
  VERB(workers)           \
  VERB(requests)          \
  VERB(top)               \
  VERB(backtrace)         \
  VERB(logs)              \
  VERB(reload)            \
  VERB(scale) VERB(recycle) VERB(drain) VERB(undrain) VERB(reexec) VERB(config) VERB(wait)

namespace green::ctl {

/// What the options before and after every verb say, and the bus, connected when first needed.
class Session {
 public:
  std::string bus = "system";
  std::string host;  ///< "[user@]host" by ssh; empty: this machine
  JsonStyle json = JsonStyle::off;
  bool is_quiet = false;
  bool has_legend = true;
  bool has_pager = true;
  bool may_ask_password = true;
  bool out_is_terminal = false;
  bool has_colour = false;
  std::ostream* out = nullptr;
  /// Where progress is shown; nullptr: nobody watches.
  std::ostream* progress = nullptr;

  Outcome<Client*> client();
  /// Before a change: polkit may want to ask something here.
  void expect_questions();
  /// The site meant by `requested`, which may be empty.
  Outcome<std::string> site(const std::string& requested);

 private:
  std::optional<Client> client_;
  TtyAgent agent_;
};

class Verb {
 public:
  Verb(std::string name, std::string synopsis, std::string help)
      : name_(std::move(name)), synopsis_(std::move(synopsis)), help_(std::move(help)) {}
  virtual ~Verb() = default;
  Verb(const Verb&) = delete;
  Verb& operator=(const Verb&) = delete;

  const std::string& name() const { return name_; }
  /// Its arguments, as in the usage line.
  const std::string& synopsis() const { return synopsis_; }
  const std::string& help() const { return help_; }
  /// Adds the verb's own options and arguments.
  virtual void declare(CLI::App& command) = 0;
  virtual Outcome<> run(Session& session) = 0;
  /// Its output may be longer than a screen: shown by a pager where there is a terminal.
  virtual bool may_page() const { return false; }

 private:
  std::string name_, synopsis_, help_;
};

#define GREEN_DECLARE_VERB(name) std::unique_ptr<Verb> make_##name();
GREEN_VERBS(GREEN_DECLARE_VERB)
#undef GREEN_DECLARE_VERB

std::vector<std::unique_ptr<Verb>> make_verbs();

}  // namespace green::ctl
