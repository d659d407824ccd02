#include "ctl/command_line.h"

#include <gmock/gmock.h>

#include <sstream>

namespace green::ctl {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

struct Ran {
  ExitStatus status;
  std::string out, err;
};

Ran run(const std::vector<std::string>& arguments) {
  std::ostringstream out, err;
  const ExitStatus status = run_greenctl(arguments, "unix:path=/nonexistent/bus", {out, err});
  return {status, out.str(), err.str()};
}

void expect_usage_error(const std::vector<std::string>& arguments, const std::string& message) {
  const Ran result = run(arguments);
  EXPECT_EQ(result.status, exit_usage) << testing::PrintToString(arguments);
  EXPECT_EQ(result.out, "");
  EXPECT_EQ(result.err, "greenctl: " + message + "\n");
}

TEST(CommandLine, ShowsItsVersion) {
  const Ran result = run({"--version"});
  EXPECT_EQ(result.status, exit_success);
  EXPECT_EQ(result.out, "greenctl " + std::string(version) + "\n");
}

TEST(CommandLine, ListsItsVerbsInAShortHelp) {
  const Ran result = run({"--help"});
  EXPECT_EQ(result.status, exit_success);
  EXPECT_EQ(result.err, "");
  for (const char* verb : {"status", "workers", "reload", "scale", "--bus", "--json "})
    EXPECT_THAT(result.out, HasSubstr(verb));
  EXPECT_LT(std::ranges::count(result.out, '\n'), 40);
}

TEST(CommandLine, HasHelpForEachVerb) {
  const Ran result = run({"scale", "--help"});
  EXPECT_EQ(result.status, exit_success);
  EXPECT_THAT(result.out, HasSubstr("Usage: greenctl scale [OPTION...] [SITE] N|+N|-N\n"));
  EXPECT_THAT(result.out, HasSubstr("--no-block"));
}

TEST(CommandLine, AsksForAVerb) {
  expect_usage_error({}, "no verb was given; see: greenctl --help");
}

TEST(CommandLine, GuessesAMistypedVerb) {
  expect_usage_error({"relaod"}, "unknown verb \"relaod\"; did you mean \"reload\"?");
  expect_usage_error({"stauts", "site", "--json"},
                     "unknown verb \"stauts\"; did you mean \"status\"?");
  expect_usage_error({"frobnicate"}, "unknown verb \"frobnicate\"; greenctl --help lists them");
}

TEST(CommandLine, RefusesWhatIsTooMuch) {
  EXPECT_EQ(run({"status", "a", "b"}).status, exit_usage);
  EXPECT_EQ(run({"scale", "a", "2", "3"}).status, exit_usage);
  EXPECT_THAT(run({"status", "--jsno"}).err, HasSubstr("--jsno; see: greenctl status --help"));
}

TEST(CommandLine, RefusesANumberOfWorkersThatIsNone) {
  for (const char* number : {"0", "513", "+513", "+-1", "eight", "1.5", "", "4294967297", "8x"}) {
    const Ran result = run({"scale", "--", "site", number});
    EXPECT_EQ(result.status, exit_usage) << number;
    EXPECT_THAT(result.err, HasSubstr("is no number of workers: give one between 1 and 512"))
        << number;
  }
  EXPECT_THAT(run({"scale", "8", "site"}).err, HasSubstr("greenctl scale [SITE] N"));
}

TEST(CommandLine, ChecksItsOptions) {
  expect_usage_error({"status", "--json=xml"}, "--json=xml: must be pretty or short");
  expect_usage_error(
      {"reload", "--timeout=soon"},
      "--timeout=soon: must be a number of seconds, or a number with ms, s, min or h");
  expect_usage_error({"reload", "--timeout=0"}, "--timeout=0: must be more than 0");
  EXPECT_EQ(run({"reload", "--wait", "--no-block"}).status, exit_usage);
  expect_usage_error(
      {"status", "--bus=none"},
      "no bus is called \"none\": give system, user or an address such as unix:path=/run/bus");
}

TEST(CommandLine, SaysThatThereIsNoBus) {
  const Ran result = run({"status", "site"});
  EXPECT_EQ(result.status, exit_failure);
  EXPECT_THAT(result.err, StartsWith("greenctl: cannot reach the unix:path=/nonexistent/bus bus"));
  EXPECT_THAT(result.err, HasSubstr("--bus="));
}

TEST(CommandLine, TakesASiteNamedLikeAVerb) {
  // Past the parser: what fails is the bus.
  EXPECT_EQ(run({"status", "workers"}).status, exit_failure);
  EXPECT_EQ(run({"reload", "reload", "--json"}).status, exit_failure);
}

}  // namespace
}  // namespace green::ctl
