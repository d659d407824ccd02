// What a verb of greenctl is. A new one is a file that defines make_NAME(), and a word in
// GREEN_VERBS below.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "ctl/client.h"
#include "ctl/output.h"

#define GREEN_VERBS(VERB) VERB(status) VERB(workers) VERB(reload) VERB(scale) VERB(reexec)

namespace green::ctl {

/// What the options before and after every verb say, and the bus, connected when first needed.
class Session {
 public:
  std::string bus = "system";
  JsonStyle json = JsonStyle::off;
  bool has_colour = false;
  std::ostream* out = nullptr;
  /// Where progress is shown; nullptr: nobody watches.
  std::ostream* progress = nullptr;

  Outcome<Client*> client();
  /// The site meant by `requested`, which may be empty.
  Outcome<std::string> site(const std::string& requested);

 private:
  std::optional<Client> client_;
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

 private:
  std::string name_, synopsis_, help_;
};

#define GREEN_DECLARE_VERB(name) std::unique_ptr<Verb> make_##name();
GREEN_VERBS(GREEN_DECLARE_VERB)
#undef GREEN_DECLARE_VERB

std::vector<std::unique_ptr<Verb>> make_verbs();

}  // namespace green::ctl
