#include "daemon/manager/oom_kills.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

namespace green::manager {
namespace {

using testing::HasSubstr;

class OomKillsTest : public testing::Test {
 protected:
  void TearDown() override { std::remove(path.c_str()); }
  void kernel_counts(int kills) {
    std::ofstream(path) << "low 0\nhigh 0\nmax 7\noom 9\noom_kill " << kills
                        << "\noom_group_kill 0\n";
  }
  std::string path = testing::TempDir() + "/green-memory.events";
};

TEST_F(OomKillsTest, ExplainOneDeathEach) {
  kernel_counts(3);
  OomKills kills(path);
  EXPECT_THAT(kills.explain_kill(), HasSubstr("nor by the kernel"));
  kernel_counts(5);
  EXPECT_THAT(kills.explain_kill(), HasSubstr("killed by the kernel, out of memory"));
  EXPECT_THAT(kills.explain_kill(), HasSubstr("killed by the kernel, out of memory"));
  EXPECT_THAT(kills.explain_kill(), HasSubstr("nor by the kernel"));
}

TEST_F(OomKillsTest, AreUnknownWhereTheKernelDoesNotCountThem) {
  OomKills kills(path + ".none");
  EXPECT_THAT(kills.explain_kill(), HasSubstr("does not say"));
}

TEST_F(OomKillsTest, FindAControlGroupOrSayThatThereIsNone) {
  EXPECT_THAT(OomKills::of_this_process().explain_kill(), HasSubstr("not sent by greend"));
}

}  // namespace
}  // namespace green::manager
