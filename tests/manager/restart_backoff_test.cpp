#include "daemon/manager/restart_backoff.h"

#include <gtest/gtest.h>

namespace green::manager {
namespace {

constexpr std::uint64_t second = 1'000'000;

TEST(RestartBackoff, ReplacesRareDeathsAtOnce) {
  RestartBackoff backoff;
  for (std::uint64_t minute = 1; minute <= 100; ++minute)
    EXPECT_EQ(backoff.on_death(minute * 60 * second, 2), 0U);
}

TEST(RestartBackoff, ReplacesAWholePoolThatDiesAtOnce) {
  RestartBackoff backoff;
  for (int i = 0; i < 64; ++i) EXPECT_EQ(backoff.on_death(second, 64), 0U);
}

TEST(RestartBackoff, DoublesFromOneToThirtySecondsInACrashLoop) {
  RestartBackoff backoff;
  std::uint64_t now = second;
  for (int i = 0; i < 16; ++i) ASSERT_EQ(backoff.on_death(now, 2), 0U);
  for (const std::uint64_t expected : {1, 2, 4, 8, 16, 30, 30}) {
    EXPECT_EQ(backoff.on_death(now, 2), expected * second);
    EXPECT_TRUE(backoff.backing_off(now));
    now += expected * second + 1000;
  }
}

TEST(RestartBackoff, LetsDeathsOfOneMomentShareOneWait) {
  RestartBackoff backoff;
  for (int i = 0; i < 16; ++i) ASSERT_EQ(backoff.on_death(second, 2), 0U);
  EXPECT_EQ(backoff.on_death(second, 2), second);
  EXPECT_EQ(backoff.on_death(second + second / 2, 2), second / 2);
}

TEST(RestartBackoff, ForgivesAfterAQuietWhile) {
  RestartBackoff backoff;
  for (int i = 0; i < 17; ++i) backoff.on_death(second, 2);
  EXPECT_EQ(backoff.on_death(120 * second, 2), 0U);
}

}  // namespace
}  // namespace green::manager
