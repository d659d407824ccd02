#include "common/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

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

TEST(LogLevels, HaveTheNamesOfTheSetting) {
  for (const char* name : {"error", "warning", "notice", "info", "debug"})
    EXPECT_EQ(log_level_name(*log_level_from_name(name)), name);
  EXPECT_FALSE(log_level_from_name("loud"));
}

}  // namespace
}  // namespace green
