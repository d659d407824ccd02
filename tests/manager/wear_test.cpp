#include "daemon/manager/wear.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace green::manager {
namespace {

using std::chrono::seconds;

class Wear : public testing::Test {
 protected:
  void SetUp() override {
    auto made = Scoreboard::create(1);
    ASSERT_TRUE(made);
    board.emplace(std::move(*made));
  }
  std::string wear(const WearLimits& limits, std::uint64_t age_usec = 0) {
    return wear_of(limits, board->slot(0), age_usec);
  }

  std::mt19937_64 random{1};
  std::optional<Scoreboard> board;
  Settings settings = default_settings();
};

TEST_F(Wear, IsUnlimitedByDefault) {
  board->slot(0).requests = 1'000'000'000;
  board->slot(0).memory_bytes = 1ULL << 40;
  EXPECT_EQ(wear(draw_wear_limits(settings, random), 1ULL << 60), "");
}

TEST_F(Wear, AddsJitterWithinItsBound) {
  settings.max_requests = 1000;
  settings.max_requests_jitter = 100;
  settings.max_lifetime = seconds(60);
  settings.max_lifetime_jitter = seconds(10);
  std::set<std::uint64_t> drawn;
  for (int i = 0; i < 1000; ++i) {
    const WearLimits limits = draw_wear_limits(settings, random);
    EXPECT_GE(limits.requests, 1000U);
    EXPECT_LE(limits.requests, 1100U);
    EXPECT_GE(limits.lifetime_usec, 60'000'000U);
    EXPECT_LE(limits.lifetime_usec, 70'000'000U);
    drawn.insert(limits.requests);
  }
  EXPECT_GT(drawn.size(), 50U);
}

TEST_F(Wear, IsNoLimitWhereOnlyAJitterIsSet) {
  settings.max_requests_jitter = 100;
  settings.max_lifetime_jitter = seconds(10);
  const WearLimits limits = draw_wear_limits(settings, random);
  EXPECT_EQ(limits.requests, 0U);
  EXPECT_EQ(limits.lifetime_usec, 0U);
}

TEST_F(Wear, NamesTheLimitThatWasReached) {
  const WearLimits limits{.requests = 10, .lifetime_usec = 60'000'000, .memory_bytes = 64 << 20};
  board->slot(0).requests = 9;
  board->slot(0).memory_bytes = 64 << 20;
  EXPECT_EQ(wear(limits, 59'999'999), "");
  EXPECT_EQ(wear(limits, 60'000'000), "is 60 s old (max_lifetime)");
  board->slot(0).memory_bytes = 65 << 20;
  EXPECT_EQ(wear(limits, 60'000'000), "takes 65 MiB (max_rss)");
  board->slot(0).requests = 10;
  EXPECT_EQ(wear(limits, 60'000'000), "has answered 10 requests (max_requests)");
}

}  // namespace
}  // namespace green::manager
