#include "daemon/worker/worker_meter.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "common/scoreboard.h"

namespace green::worker {
namespace {

constexpr std::uint64_t generation = 1;

class WorkerMeterShare : public testing::Test {
 protected:
  void start(std::uint32_t slot, std::uint32_t connections) {
    board_->reset_slot(slot, generation);
    board_->slot(slot).activity = WorkerActivity::idle;
    board_->slot(slot).connections = connections;
  }
  http::Share share_of(std::uint32_t slot, std::uint32_t connections) {
    start(slot, 0);
    WorkerMeter meter(*board_, slot, generation);
    board_->slot(slot).connections = connections;
    return meter.share();
  }

  Result<Scoreboard> board_ = Scoreboard::create(4096);
};

TEST_F(WorkerMeterShare, IsAloneWhereNobodyElseServes) {
  EXPECT_EQ(share_of(0, 5), http::Share::alone);
}

TEST_F(WorkerMeterShare, IsLargeFromTwoMoreThanTheFewest) {
  start(1, 9);
  start(2, 3);
  EXPECT_EQ(share_of(0, 4), http::Share::fair);
  EXPECT_EQ(share_of(0, 5), http::Share::large);
}

TEST_F(WorkerMeterShare, CountsAWorkerInAHighSlot) {
  start(4095, 3);
  EXPECT_EQ(share_of(0, 5), http::Share::large);
}

TEST_F(WorkerMeterShare, LeavesTheMemoryOfUnusedSlotsUnused) {
  start(1, 3);
  share_of(0, 5);
  struct stat status{};
  ASSERT_EQ(::fstat(board_->fd(), &status), 0);
  EXPECT_LE(status.st_blocks * 512, 4096);
}

}  // namespace
}  // namespace green::worker
