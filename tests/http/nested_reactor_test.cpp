#include "daemon/http/nested_reactor.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>

namespace green::http {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

struct Handler final : EventHandler {
  int times = 0;
  void on_events(std::uint32_t) override { ++times; }
};

struct Work final : Deferred {
  int times = 0;
  void run_deferred() override { ++times; }
};

class NestedReactors : public ::testing::Test {
 protected:
  /// As the outer loop does: waits until the descriptor is readable, at most so long.
  bool is_woken(milliseconds within) const {
    pollfd one{.fd = nested->fd(), .events = POLLIN, .revents = 0};
    return poll(&one, 1, static_cast<int>(within.count())) == 1;
  }
  std::unique_ptr<Reactor> reactor = std::move(*Reactor::create());
  std::unique_ptr<NestedReactor> nested = std::move(*NestedReactor::create(*reactor));
};

TEST_F(NestedReactors, WakeTheOuterLoopForADescriptorAndThenLeaveItAlone) {
  const Fd event(eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK));
  Handler handler;
  ASSERT_TRUE(reactor->add(event.get(), EPOLLIN | EPOLLET, handler));
  EXPECT_TRUE(is_woken(seconds(5)));
  ASSERT_TRUE(nested->turn());
  EXPECT_EQ(handler.times, 1);
  EXPECT_FALSE(is_woken(milliseconds(0)));
  reactor->remove(event.get(), handler);
}

TEST_F(NestedReactors, WakeTheOuterLoopForWhatIsDeferredOutsideOfATurn) {
  Work work;
  EXPECT_FALSE(is_woken(milliseconds(0)));
  {
    const NestedReactor::Outside outside(*nested);
    reactor->defer(work);
  }
  EXPECT_TRUE(is_woken(seconds(5)));
  ASSERT_TRUE(nested->turn());
  EXPECT_EQ(work.times, 1);
  EXPECT_FALSE(is_woken(milliseconds(0)));
}

TEST_F(NestedReactors, WakeTheOuterLoopForADeadlineThatIsSetOutsideOfATurn) {
  int times = 0;
  {
    const NestedReactor::Outside outside(*nested);
    reactor->call_after(milliseconds(300), [&times] { ++times; });
    reactor->call_after(milliseconds(30), [&times] { ++times; });
  }
  while (times < 2 && is_woken(seconds(5))) ASSERT_TRUE(nested->turn());
  EXPECT_EQ(times, 2);
}

TEST_F(NestedReactors, WakeTheOuterLoopForTheTurnCallback) {
  int times = 0;
  reactor->set_turn_callback([&times](std::uint64_t) { ++times; }, milliseconds(20));
  // Whatever was known before: the next turn sees the new interval.
  ASSERT_TRUE(nested->turn());
  while (times < 4 && is_woken(seconds(5))) ASSERT_TRUE(nested->turn());
  EXPECT_EQ(times, 4);
}

TEST_F(NestedReactors, KnowTheTimeOutsideOfATurn) {
  const auto before = reactor->now_usec();
  ASSERT_EQ(poll(nullptr, 0, 20), 0);
  EXPECT_EQ(reactor->now_usec(), before);
  const NestedReactor::Outside outside(*nested);
  EXPECT_GE(reactor->now_usec(), before + 20'000);
}

}  // namespace
}  // namespace green::http
