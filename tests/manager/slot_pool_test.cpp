#include "daemon/manager/slot_pool.h"

#include <gtest/gtest.h>

namespace green::manager {
namespace {

TEST(SlotPool, GivesTheLowestFreeSlot) {
  SlotPool pool(3);
  EXPECT_EQ(pool.take(), 0U);
  EXPECT_EQ(pool.take(), 1U);
  pool.release(0);
  EXPECT_EQ(pool.take(), 0U);
  EXPECT_EQ(pool.take(), 2U);
  EXPECT_EQ(pool.take(), std::nullopt);
}

}  // namespace
}  // namespace green::manager
