#include "common/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

#include "common/journal_socket.h"
#include "tests/common/fake_journal.h"

namespace green {
namespace {

using testing::HasSubstr;
using testing::Not;

class LogTest : public testing::Test {
 protected:
  void SetUp() override { log_open({.identifier = "test", .site = "a"}, LogLevel::info); }
};

TEST_F(LogTest, PrefixesEveryLineOfAText) {
  testing::internal::CaptureStderr();
  log_error("one\ntwo");
  const std::string written = testing::internal::GetCapturedStderr();
  EXPECT_THAT(written, HasSubstr("]: error: one\ntest["));
  EXPECT_THAT(written, HasSubstr("]: error: two\n"));
}

TEST_F(LogTest, EscapesWhatCouldForgeATerminalOrALine) {
  testing::internal::CaptureStderr();
  log_info("a\x1b[31mb\rc{}", std::string(1, '\0'));
  const std::string written = testing::internal::GetCapturedStderr();
  EXPECT_THAT(written, HasSubstr("a\\x1b[31mb\\x0dc\\x00\n"));
}

TEST_F(LogTest, LeavesOutWhatIsBelowTheLevel) {
  testing::internal::CaptureStderr();
  log_debug("hidden");
  log_set_level(LogLevel::debug);
  log_debug("shown");
  const std::string written = testing::internal::GetCapturedStderr();
  EXPECT_THAT(written, Not(HasSubstr("hidden")));
  EXPECT_THAT(written, HasSubstr("shown"));
}

/// Standard error is what JOURNAL_STREAM names, and the journal's socket a fake's.
class JournalLog : public testing::Test {
 protected:
  void SetUp() override {
    struct stat status{};
    ASSERT_EQ(::fstat(STDERR_FILENO, &status), 0);
    ::setenv("JOURNAL_STREAM", fmt::format("{}:{}", status.st_dev, status.st_ino).c_str(), 1);
    log_set_journal_path(journal.path());
    log_open({.identifier = "test", .site = "a", .generation = "3", .worker = "1"}, LogLevel::info);
  }
  void TearDown() override {
    ::unsetenv("JOURNAL_STREAM");
    log_set_journal_path(JournalSocket::default_path);
    log_open({.identifier = "test", .site = "a"}, LogLevel::info);
  }
  FakeJournal journal;
};

TEST_F(JournalLog, WritesFieldsAndTheMessageId) {
  log_event("0123", LogLevel::error, "it {}", "broke");
  EXPECT_EQ(journal.take(),
            "PRIORITY=3\nMESSAGE=it broke\nMESSAGE_ID=0123\nSYSLOG_IDENTIFIER=test\nSITE=a\n"
            "GENERATION=3\nWORKER=1\n");
}

TEST_F(JournalLog, LosesWhatAStoppedJournalDoesNotTakeAndSaysSoLater) {
  for (int i = 0; i < 10'000; ++i) log_info("line");
  int taken = 0;
  while (!journal.take().empty()) ++taken;
  EXPECT_LT(taken, 10'000);
  log_info("after");
  EXPECT_THAT(journal.take(),
              HasSubstr(fmt::format("MESSAGE={} messages were lost", 10'000 - taken)));
  EXPECT_THAT(journal.take(), HasSubstr("MESSAGE=after"));
}

TEST(LogLevels, HaveTheNamesOfTheSetting) {
  for (const char* name : {"error", "warning", "notice", "info", "debug"})
    EXPECT_EQ(log_level_name(*log_level_from_name(name)), name);
  EXPECT_FALSE(log_level_from_name("loud"));
}

}  // namespace
}  // namespace green
