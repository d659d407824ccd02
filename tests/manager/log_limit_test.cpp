#include "daemon/manager/log_limit.h"

#include <gtest/gtest.h>

namespace green::manager {
namespace {

constexpr std::uint64_t start = 1'000'000'000;

TEST(LogLimit, AdmitsABurstAndCountsTheRest) {
  LogLimit limit;
  for (std::uint32_t i = 0; i < LogLimit::burst; ++i) EXPECT_TRUE(limit.admits(start + i));
  EXPECT_FALSE(limit.admits(start + 100));
  EXPECT_FALSE(limit.admits(start + 101));
  EXPECT_EQ(limit.take_held_back(start + 102), 0U) << "their interval goes on";
  EXPECT_EQ(limit.take_held_back(start + LogLimit::interval_usec), 2U);
  EXPECT_EQ(limit.take_held_back(start + LogLimit::interval_usec), 0U);
}

TEST(LogLimit, AdmitsAnotherBurstInTheNextInterval) {
  LogLimit limit;
  for (std::uint32_t i = 0; i <= LogLimit::burst; ++i) limit.admits(start);
  EXPECT_TRUE(limit.admits(start + LogLimit::interval_usec));
  EXPECT_EQ(limit.take_held_back(), 1U);
}

TEST(LogLimit, HoldsNothingBackOfWhatComesSeldom) {
  LogLimit limit;
  for (std::uint64_t i = 0; i < 100; ++i)
    EXPECT_TRUE(limit.admits(start + i * LogLimit::interval_usec / 10));
  EXPECT_EQ(limit.take_held_back(), 0U);
}

}  // namespace
}  // namespace green::manager
