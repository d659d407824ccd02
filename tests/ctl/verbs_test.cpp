// greenctl's verbs that look into a site, against a fake greend on a private bus.
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "ctl/command_line.h"
#include "tests/ctl/fake_site.h"

namespace green::ctl {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

class Verbs : public testing::Test {
 protected:
  ExitStatus run(const std::vector<std::string>& arguments) {
    std::ostringstream out_stream, err_stream;
    const ExitStatus status = run_greenctl(arguments, bus_.address(), {out_stream, err_stream});
    out = out_stream.str();
    err = err_stream.str();
    return status;
  }
  PrivateBus bus_;
  std::unique_ptr<FakeSite> site_ = FakeSite::start(bus_, "site");
  std::string out, err;
};

TEST_F(Verbs, ListEveryRequestTheOldestFirst) {
  ASSERT_EQ(run({"requests"}), exit_success) << err;
  EXPECT_THAT(out, testing::MatchesRegex(
                       " *AGE .*\n"
                       ".*1000  GET +/stuck +192.0.2.1  running\n"
                       ".*1002  POST +/form .the latest of 12. +local +unanswered\n"
                       ".*1010  GET +/chat +local +websocket\n"
                       " *- +0 +1000  - +.744 more. +- +more\n"
                       "\n"
                       "Worker 2 .process 1002. did not answer: .*greenctl backtrace 1002\n"));
  ASSERT_EQ(run({"requests", "--no-legend"}), exit_success) << err;
  EXPECT_THAT(out, testing::Not(HasSubstr("did not answer")));
  ASSERT_EQ(run({"requests", "--json=short"}), exit_success);
  const auto list = nlohmann::json::parse(out);
  ASSERT_EQ(list.size(), 4U);
  EXPECT_EQ(list[3]["state"], "more");
  EXPECT_EQ(list[3]["requests"], 744);
}

TEST_F(Verbs, ListTheLatestRequestsOfAGreendThatKnowsNoMore) {
  site_->is_of_the_first_release = true;
  ASSERT_EQ(run({"requests"}), exit_success) << err;
  std::istringstream lines(out);
  std::string heading, first, second;
  std::getline(lines, heading);
  std::getline(lines, first);
  std::getline(lines, second);
  EXPECT_THAT(first, AllOf(HasSubstr("1000  GET"), HasSubstr("/stuck"), HasSubstr("192.0.2.1")));
  EXPECT_THAT(second, AllOf(HasSubstr("/form (and 1 more)"), HasSubstr("local      replying")));
  ASSERT_EQ(run({"requests", "--json=short"}), exit_success);
  EXPECT_EQ(nlohmann::json::parse(out)[0]["path"], "/stuck");
}

TEST_F(Verbs, LeaveHeadingsAwayWhereTheyAreNotWanted) {
  ASSERT_EQ(run({"--no-legend", "workers"}), exit_success) << err;
  EXPECT_EQ(std::ranges::count(out, '\n'), 3);
  EXPECT_THAT(out, testing::Not(HasSubstr("WORKER")));
}

TEST_F(Verbs, ShowTheStacksOfAllWorkersThoughOneIsSilent) {
  EXPECT_EQ(run({"backtrace"}), exit_failure);
  EXPECT_THAT(out, HasSubstr("Worker 0 (process 1000, generation 3): busy "));
  EXPECT_THAT(out, HasSubstr(" with GET /stuck\n  File \"app.py\", line 7 in view\n"));
  EXPECT_THAT(out,
              HasSubstr("Worker 2 (process 1002, generation 3): idle\nsite: backtrace failed"));
  EXPECT_THAT(err, HasSubstr("it is stopped (state T)"));
  EXPECT_EQ(run({"backtrace", "site", "1000"}), exit_success) << err;
  EXPECT_THAT(out, testing::Not(HasSubstr("1002")));
  EXPECT_EQ(run({"backtrace", "9"}), exit_failure);
  EXPECT_EQ(run({"backtrace", "site", "soon"}), exit_usage);
}

TEST_F(Verbs, RecycleOneWorkerOrAll) {
  EXPECT_EQ(run({"recycle", "1002"}), exit_success) << err;
  EXPECT_EQ(site_->recycled_pid, 1002U);
  EXPECT_EQ(run({"recycle", "site", "all"}), exit_success) << err;
  EXPECT_EQ(site_->recycled_pid, 0U);
  for (const char* pid : {"0", "-1", "any", "99999999999"})
    EXPECT_EQ(run({"recycle", "--", pid}), exit_usage) << pid;
}

TEST_F(Verbs, ScaleByADifference) {
  EXPECT_EQ(run({"scale", "+2"}), exit_success) << err;
  EXPECT_EQ(site_->scaled_to, 6U);
  EXPECT_EQ(run({"scale", "site", "-3"}), exit_success) << err;
  EXPECT_EQ(site_->scaled_to, 1U);
  EXPECT_EQ(run({"scale", "-4"}), exit_usage);
  EXPECT_THAT(err, HasSubstr("\"0\" is no number of workers"));
}

TEST_F(Verbs, CompareSettingsWithTheDisk) {
  ASSERT_EQ(run({"config", "diff"}), exit_success) << err;
  EXPECT_THAT(out, HasSubstr("workers  2        4        reload   /etc/green/site.toml:1\n"));
  EXPECT_THAT(out, HasSubstr("bind     [\"a\"]    [\"b\"]    restart  /etc/green/site.toml:2\n"));
  ASSERT_EQ(run({"config", "show"}), exit_success) << err;
  EXPECT_THAT(out, StartsWith("SETTING  VALUE  ORIGIN\nbind"));
  EXPECT_EQ(run({"config", "frob"}), exit_usage);
}

TEST_F(Verbs, ListTheSitesOfABus) {
  ASSERT_EQ(run({"list"}), exit_success) << err;
  EXPECT_THAT(out, HasSubstr("site  serving           3      4/4     1      1234  example:app\n"));
}

TEST_F(Verbs, SayNothingWhenQuiet) {
  for (const char* verb : {"drain", "undrain", "reload"}) {
    EXPECT_EQ(run({verb, "-q"}), exit_success) << err;
    EXPECT_EQ(out + err, "") << verb;
  }
}

TEST_F(Verbs, RefuseTopWithoutATerminal) {
  EXPECT_EQ(run({"top"}), exit_usage);
  EXPECT_THAT(err, HasSubstr("greenctl workers"));
}

TEST_F(Verbs, RefuseAHostTogetherWithABus) {
  EXPECT_EQ(run({"status", "-H", "host", "--user"}), exit_usage);
  EXPECT_EQ(run({"status", "--bus=user", "--user"}), exit_usage);
}

}  // namespace
}  // namespace green::ctl
