#include "daemon/manager/service_notify.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/scoreboard.h"
#include "tests/manager/notify_receiver.h"

namespace green::manager {
namespace {

using testing::ElementsAre;
using testing::MatchesRegex;

class ServiceNotifyTest : public testing::Test {
 protected:
  NotifyReceiver receiver_;
  EventLoop loop_ = std::move(*EventLoop::create());
};

TEST_F(ServiceNotifyTest, SendsReloadingWithItsTimeInOneDatagram) {
  ServiceNotify notify(loop_);
  notify.reloading("reading");
  EXPECT_THAT(receiver_.take(),
              ElementsAre(MatchesRegex("RELOADING=1\nMONOTONIC_USEC=[0-9]+\nSTATUS=reading")));
}

TEST_F(ServiceNotifyTest, CutsAStatusToItsFirstLine) {
  ServiceNotify notify(loop_);
  notify.ready("one\nMAINPID=1");
  EXPECT_THAT(receiver_.take(), ElementsAre("READY=1\nSTATUS=one"));
}

TEST_F(ServiceNotifyTest, HoldsBackRapidStatusesButSendsTheLast) {
  ServiceNotify notify(loop_);
  notify.status("1");
  notify.status("2");
  notify.status("3");
  EXPECT_THAT(receiver_.take(), ElementsAre("STATUS=1"));
  auto end = loop_.add_timer(monotonic_usec() + 1'000'000, [this] { loop_.exit(0); });
  ASSERT_TRUE(loop_.run());
  EXPECT_THAT(receiver_.take(), ElementsAre("STATUS=3"));
}

TEST(GistOf, IsTheLastLineOfATracebackAndElseTheFirst) {
  EXPECT_EQ(gist_of("one line"), "one line");
  EXPECT_EQ(gist_of("first\nsecond\n"), "first");
  EXPECT_EQ(gist_of("Traceback (most recent call last):\n  File\nValueError: no\n"),
            "ValueError: no");
  EXPECT_EQ(gist_of("the probe failed\nTraceback (most recent call last):\nKeyError: 'a'"),
            "KeyError: 'a'");
  EXPECT_EQ(gist_of(""), "");
}

TEST_F(ServiceNotifyTest, ReadsTheWatchdogsIntervalFromTheEnvironment) {
  ::setenv("WATCHDOG_USEC", "3000000", 1);
  EXPECT_EQ(ServiceNotify(loop_).watchdog_usec(), 3'000'000U);
  ::setenv("WATCHDOG_PID", "1", 1);
  EXPECT_EQ(ServiceNotify(loop_).watchdog_usec(), 0U);
  ::unsetenv("WATCHDOG_USEC");
  ::unsetenv("WATCHDOG_PID");
}

}  // namespace
}  // namespace green::manager
