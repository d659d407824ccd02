#include "common/scoreboard.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace green {
namespace {

TEST(Scoreboard, ShowsInOneMappingWhatWasWrittenInAnother) {
  auto manager = Scoreboard::create(4);
  ASSERT_TRUE(manager) << manager.error().message();
  auto worker = Scoreboard::map(Fd(::fcntl(manager->fd(), F_DUPFD_CLOEXEC, 0)), 4);
  ASSERT_TRUE(worker) << worker.error().message();
  worker->slot(3).requests = 42;
  manager->header().serving_generation = 7;
  EXPECT_EQ(manager->slot(3).requests, 42U);
  EXPECT_EQ(worker->header().serving_generation, 7U);
}

TEST(Scoreboard, GivesEachSlotCacheLinesOfItsOwn) {
  const auto board = Scoreboard::create(2);
  ASSERT_TRUE(board);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(&board->slot(0)) % 64, 0U);
  EXPECT_EQ(reinterpret_cast<char*>(&board->slot(1)) - reinterpret_cast<char*>(&board->slot(0)),
            static_cast<std::ptrdiff_t>(sizeof(ScoreboardSlot)));
}

TEST(Scoreboard, CannotBeShrunkUnderTheManager) {
  const auto board = Scoreboard::create(2);
  ASSERT_TRUE(board);
  EXPECT_LT(::ftruncate(board->fd(), 0), 0);
}

TEST(Scoreboard, RefusesADescriptorSmallerThanItsSlots) {
  const auto small = Scoreboard::create(1);
  ASSERT_TRUE(small);
  EXPECT_FALSE(Scoreboard::map(Fd(::fcntl(small->fd(), F_DUPFD_CLOEXEC, 0)), 100'000));
}

TEST(Scoreboard, ClearsASlotForItsNextWorker) {
  const auto board = Scoreboard::create(1);
  ASSERT_TRUE(board);
  board->slot(0).requests = 9;
  board->slot(0).activity = WorkerActivity::busy;
  board->reset_slot(0, 5);
  EXPECT_EQ(board->slot(0).requests, 0U);
  EXPECT_EQ(board->slot(0).generation, 5U);
  EXPECT_EQ(board->slot(0).activity.load(), WorkerActivity::none);
  EXPECT_GT(board->slot(0).heartbeat_usec, 0U);
}

}  // namespace
}  // namespace green
