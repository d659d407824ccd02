#include "daemon/manager/process_usage.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "common/scoreboard.h"
#include "daemon/manager/authority.h"

namespace green::manager {
namespace {

TEST(ProcessUsage, ReadsTheCpuTimeBehindAnyName) {
  const std::string stat =
      "12 (a) S (b 1) R 7 12 12 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 1 0 99 1000 20\n";
  EXPECT_EQ(cpu_nsec_of(stat.c_str(), 100), 2'000'000'000U);
  for (const char* broken : {"", "12 (a", "12 (a) ", "12 (a) R 7 x"})
    EXPECT_EQ(cpu_nsec_of(broken, 100), 0U) << broken;
  EXPECT_EQ(cpu_nsec_of(stat.c_str(), 0), 0U);
}

TEST(ProcessUsage, KnowsWhatThisProcessTakes) {
  ProcessUsage usage;
  const Usage ours = usage.of(::getpid(), monotonic_usec());
  EXPECT_GT(ours.rss_bytes, 1U << 20);
  EXPECT_GT(ours.pss_bytes, 0U);
  EXPECT_LE(ours.pss_bytes, ours.rss_bytes);
  EXPECT_EQ(usage.of(999'999'999, monotonic_usec()).rss_bytes, 0U);
}

TEST(ProcessUsage, IsReadAgainAfterASecondAndNotBefore) {
  ProcessUsage usage;
  const std::uint64_t now = monotonic_usec();
  const Usage before = usage.of(::getpid(), now);
  const std::string more(64U << 20, 'x');
  ASSERT_EQ(more.back(), 'x');
  EXPECT_EQ(usage.of(::getpid(), now + 99'999).rss_bytes, before.rss_bytes);
  EXPECT_GT(usage.of(::getpid(), now + 100'000).rss_bytes, before.rss_bytes + (32U << 20));
}

TEST(Authority, TellsAFamilyByItsParents) {
  EXPECT_TRUE(descends_from(::getpid(), ::getppid()));
  EXPECT_TRUE(descends_from(::getpid(), ::getpid()));
  EXPECT_FALSE(descends_from(::getppid(), ::getpid()));
  EXPECT_FALSE(descends_from(999'999'999, ::getpid()));
}

}  // namespace
}  // namespace green::manager
