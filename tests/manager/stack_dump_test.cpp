#include "daemon/manager/stack_dump.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>

#include "common/worker_channel.h"

namespace green::manager {
namespace {

using testing::HasSubstr;

class StackDumpTest : public testing::Test {
 protected:
  void SetUp() override {
    loop = EventLoop::create();
    ASSERT_TRUE(loop) << loop.error().message();
    auto ends = make_channel();
    ASSERT_TRUE(ends) << ends.error().message();
    ours = std::move(ends->first);
    theirs = std::move(ends->second);
    auto started = StackDump::start(
        *loop, ours.get(), [this] { ++signals; },
        [this](Result<std::string> text) { answers.push_back(std::move(text)); });
    ASSERT_TRUE(started) << started.error().message();
    dump = std::move(*started);
  }

  /// The pipe, as the worker takes it.
  Fd take_pipe() {
    auto received = receive_message(theirs.get());
    EXPECT_TRUE(received && *received && (*received)->descriptors.size() == 1);
    return std::move((*received)->descriptors.at(0));
  }

  void turn() { ASSERT_TRUE(loop->turn()); }

  Result<EventLoop> loop = fail(ErrorCode::unavailable, "not yet");
  Fd ours;
  Fd theirs;
  int signals = 0;
  std::vector<Result<std::string>> answers;
  std::unique_ptr<StackDump> dump;
};

TEST_F(StackDumpTest, IsWhatTheWorkerWroteUntilItClosed) {
  EXPECT_EQ(signals, 1);
  {
    const Fd pipe = take_pipe();
    ASSERT_EQ(::write(pipe.get(), "Thread 0x1", 10), 10);
    turn();
    EXPECT_TRUE(answers.empty());
    EXPECT_FALSE(dump->is_over());
  }
  turn();
  ASSERT_EQ(answers.size(), 1U);
  EXPECT_EQ(answers[0].value(), "Thread 0x1");
  EXPECT_TRUE(dump->is_over());
}

TEST_F(StackDumpTest, WaitsForTheEndOfAWorkerThatClosedAndWroteNothing) {
  take_pipe().reset();
  turn();
  EXPECT_TRUE(answers.empty()) << "why nothing came is known by its end";
  EXPECT_FALSE(dump->is_over());
  dump->end();
  ASSERT_EQ(answers.size(), 1U);
  ASSERT_FALSE(answers[0]);
  EXPECT_THAT(answers[0].error().message(), HasSubstr("wrote none"));
  EXPECT_TRUE(dump->is_over());
}

TEST_F(StackDumpTest, OfAnEndedWorkerIsWhatItHadWritten) {
  const Fd held_by_a_child = take_pipe();
  ASSERT_EQ(::write(held_by_a_child.get(), "Thread 0x2", 10), 10);
  dump->end();
  ASSERT_EQ(answers.size(), 1U);
  EXPECT_EQ(answers[0].value(), "Thread 0x2");
}

}  // namespace
}  // namespace green::manager
