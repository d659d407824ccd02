#include "daemon/http/reactor.h"

#include <gtest/gtest.h>
#include <sys/eventfd.h>

#include <string>
#include <vector>

namespace green::http {
namespace {

using std::chrono::milliseconds;

struct Handler final : EventHandler {
  std::function<void(std::uint32_t)> act;
  std::function<void()> before;
  void before_events(std::uint32_t) override {
    if (before) before();
  }
  void on_events(std::uint32_t events) override { act(events); }
};

struct Work final : Deferred {
  std::function<void()> act;
  void run_deferred() override { act(); }
};

class Reactors : public ::testing::Test {
 protected:
  static Fd ready() { return Fd(eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK)); }
  std::unique_ptr<Reactor> reactor = std::move(*Reactor::create());
};

TEST_F(Reactors, TellUrgentHandlersBeforeTheOthersOfATurn) {
  std::string order;
  std::vector<Fd> descriptors;
  std::vector<std::unique_ptr<Handler>> handlers;
  for (const char name : {'a', 'b', 'U', 'c'}) {
    descriptors.push_back(ready());
    handlers.push_back(std::make_unique<Handler>());
    handlers.back()->act = [&order, name](std::uint32_t) { order += name; };
    ASSERT_TRUE(reactor->add(descriptors.back().get(), EPOLLIN, *handlers.back(),
                             name == 'U' ? Priority::urgent : Priority::normal));
  }
  ASSERT_TRUE(reactor->turn(false));
  ASSERT_EQ(order.size(), 4U);
  EXPECT_EQ(order[0], 'U');
}

TEST_F(Reactors, AnnounceSeveralEventsBeforeTheyTellTheFirst) {
  std::string order;
  std::vector<Fd> descriptors;
  std::vector<std::unique_ptr<Handler>> handlers;
  const auto add = [&] {
    descriptors.push_back(ready());
    handlers.push_back(std::make_unique<Handler>());
    handlers.back()->before = [&order] { order += 'b'; };
    handlers.back()->act = [&order](std::uint32_t) { order += 'e'; };
    return reactor->add(descriptors.back().get(), EPOLLIN, *handlers.back());
  };
  ASSERT_TRUE(add());
  const auto turn = reactor->turn_number();
  ASSERT_TRUE(reactor->turn(false));
  EXPECT_EQ(order, "e") << "one alone waits for nobody";
  EXPECT_NE(reactor->turn_number(), turn);
  ASSERT_TRUE(add());
  ASSERT_TRUE(add());
  order.clear();
  ASSERT_TRUE(reactor->turn(false));
  EXPECT_EQ(order, "bbbeee");
}

TEST_F(Reactors, TellNothingToAHandlerRemovedInTheSameTurn) {
  const auto one = ready();
  const auto two = ready();
  Handler first, second;
  int told = 0;
  first.act = [&](std::uint32_t) { ++told, reactor->remove(two.get(), second); };
  second.act = [&](std::uint32_t) { ++told, reactor->remove(one.get(), first); };
  ASSERT_TRUE(reactor->add(one.get(), EPOLLIN, first));
  ASSERT_TRUE(reactor->add(two.get(), EPOLLIN, second));
  ASSERT_TRUE(reactor->turn(false));
  EXPECT_EQ(told, 1);
}

TEST_F(Reactors, BlockOnlyThroughTheWrapperAndOnlyWithNothingReady) {
  int blocked = 0;
  reactor->set_blocking_wait([&](const Reactor::Wait& wait) {
    ++blocked;
    wait();
  });
  auto descriptor = ready();
  Handler handler;
  handler.act = [](std::uint32_t) {};
  ASSERT_TRUE(reactor->add(descriptor.get(), EPOLLIN, handler));
  ASSERT_TRUE(reactor->turn(true));
  EXPECT_EQ(blocked, 0);
  reactor->remove(descriptor.get(), handler);
  reactor->set_turn_callback({}, milliseconds(1));
  ASSERT_TRUE(reactor->turn(true));
  EXPECT_EQ(blocked, 1);
}

TEST_F(Reactors, CallTheTurnCallbackAtLeastAsOftenAsAsked) {
  int turns = 0;
  reactor->set_turn_callback(
      [&](std::uint64_t now) {
        EXPECT_GT(now, 0U);
        if (++turns == 3) reactor->stop();
      },
      milliseconds(1));
  EXPECT_TRUE(reactor->run());
  EXPECT_EQ(turns, 3);
}

TEST_F(Reactors, RunDeferredWorkOnceAndBeforeBlocking) {
  Work work;
  int runs = 0;
  work.act = [&] { ++runs; };
  reactor->defer(work);
  reactor->defer(work);
  reactor->set_blocking_wait([](const Reactor::Wait&) { FAIL() << "blocked"; });
  ASSERT_TRUE(reactor->turn(true));
  EXPECT_EQ(runs, 1);
}

TEST_F(Reactors, DoNotTurnForWorkThatCanWait) {
  Work work;
  int runs = 0;
  work.act = [&] { ++runs; };
  reactor->defer(work, Defer::wait);
  EXPECT_FALSE(reactor->next_deadline());
  reactor->defer(work);
  EXPECT_TRUE(reactor->next_deadline());
  ASSERT_TRUE(reactor->turn(false));
  EXPECT_EQ(runs, 1);
  reactor->defer(work, Defer::wait);
  ASSERT_TRUE(reactor->turn(false));
  EXPECT_EQ(runs, 2);
}

TEST_F(Reactors, ForgetDeferredWorkThatIsDestroyed) {
  Work first;
  auto second = std::make_unique<Work>();
  second->act = [] { FAIL() << "ran after its end"; };
  first.act = [&] { second.reset(); };
  reactor->defer(first);
  reactor->defer(*second);
  ASSERT_TRUE(reactor->turn(false));
  EXPECT_EQ(second, nullptr);
}

TEST_F(Reactors, RunWorkDeferredByWorkOnTheNextTurn) {
  Work work;
  int runs = 0;
  work.act = [&] {
    ++runs;
    reactor->defer(work);
  };
  reactor->defer(work);
  ASSERT_TRUE(reactor->turn(false));
  EXPECT_EQ(runs, 1);
  ASSERT_TRUE(reactor->turn(false));
  EXPECT_EQ(runs, 2);
}

TEST_F(Reactors, CallTimersInTheirOrderAndCancelledOnesNever) {
  std::string order;
  reactor->call_after(milliseconds(10), [&] {
    order += 'b';
    reactor->stop();
  });
  reactor->call_after(milliseconds(1), [&] { order += 'a'; });
  const auto cancelled = reactor->call_after(milliseconds(2), [&] { order += 'x'; });
  reactor->cancel(cancelled);
  EXPECT_TRUE(reactor->run());
  EXPECT_EQ(order, "ab");
}

TEST_F(Reactors, EndWithAnErrorWhenEpollItselfIsClosed) {
  const int epoll = reactor->fd();
  ::close(epoll);
  const auto result = reactor->run();
  ASSERT_FALSE(result);
  EXPECT_NE(result.error().message().find("epoll"), std::string::npos);
  // The number may be another's by now: the reactor's destructor closes nothing that is not there.
}

TEST_F(Reactors, EndWithTheFirstErrorTheyAreGiven) {
  Work work;
  work.act = [&] {
    reactor->fail(Error(ErrorCode::system, "first"));
    reactor->fail(Error(ErrorCode::system, "second"));
  };
  reactor->defer(work);
  const auto result = reactor->run();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().message(), "first");
}

TEST_F(Reactors, RefuseADescriptorThatIsNone) {
  Handler handler;
  EXPECT_FALSE(reactor->add(-1, EPOLLIN, handler));
}

}  // namespace
}  // namespace green::http
