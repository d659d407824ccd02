// Calls that take their time, on the loop thread: what they take is nobody's time limit.
#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "tests/http/server_fixture.h"

namespace green::http {
namespace {

using std::chrono::milliseconds;

constexpr std::string_view get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
constexpr std::string_view slow = "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n";
constexpr std::string_view post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n";
constexpr milliseconds limit{100};
constexpr milliseconds call_time{200};

class SlowCalls : public testing::ServerFixture {
 protected:
  SlowCalls() {
    application.answer = [this](Exchange& exchange) {
      if (exchange.request().path == "/slow") {
        std::this_thread::sleep_for(call_time);
        meanwhile();
      }
      ASSERT_TRUE(exchange.start(200, "OK", {}));
      exchange.finish("done\n");
    };
  }
  std::vector<Fd> connect_many(int count) {
    std::vector<Fd> clients;
    for (int i = 0; i < count; ++i) clients.push_back(connect());
    return clients;
  }
  /// More than one turn tells of.
  static constexpr int many = 300;
  std::function<void()> meanwhile = [] {};
};

TEST_F(SlowCalls, LeaveTheirConnectionItsKeepAliveTime) {
  auto limits = fast_limits();
  limits.keepalive = limit;
  restart(limits);
  const Fd client = connect();
  EXPECT_TRUE(ask(client, slow).ends_with("done\n"));
  turn(3);
  EXPECT_EQ(observer.closed, 0);
  EXPECT_TRUE(ask(client, get).ends_with("done\n"));
  EXPECT_TRUE(turn_until([&] { return observer.closed == 1; })) << "it is bounded all the same";
}

TEST_F(SlowCalls, LeaveThoseAnsweredBeforeThemTheirKeepAliveTime) {
  auto limits = fast_limits();
  limits.keepalive = limit;
  restart(limits);
  const Fd one = connect();
  const Fd two = connect();
  send(one, slow);
  send(two, slow);
  turn(1);
  EXPECT_EQ(application.requests.size(), 2U) << "in one turn";
  send(one, get);  // before the loop looks at the time
  turn(3);
  EXPECT_EQ(observer.closed, 0);
  EXPECT_EQ(application.requests.size(), 3U);
}

TEST_F(SlowCalls, LeaveAClientItsTimeForItsHead) {
  auto limits = fast_limits();
  limits.head_time = limit;
  restart(limits);
  const Fd one = connect();
  const Fd two = connect();
  send(one, slow);
  send(two, get.substr(0, 8));
  turn(3);
  send(two, get.substr(8));
  EXPECT_TRUE(receive_until(two, "\n").ends_with("done\n"));
}

TEST_F(SlowCalls, LeaveThoseThatSentTheirHeadMeanwhileTheirAnswer) {
  auto limits = fast_limits();
  limits.head_time = limit;
  restart(limits);
  const Fd client = connect();
  const auto others = connect_many(many);
  for (const Fd& other : others) send(other, get.substr(0, 8));
  turn(8);
  meanwhile = [&] {
    for (const Fd& other : others) send(other, get.substr(8));
  };
  send(client, slow);
  turn(1);
  turn(8);
  EXPECT_EQ(application.requests.size(), 1U + many) << "the others were told 408";
}

TEST_F(SlowCalls, LeaveThoseThatSentTheirBodyMeanwhileTheirAnswer) {
  auto limits = fast_limits();
  limits.body_idle = limit;
  restart(limits);
  const Fd client = connect();
  const auto others = connect_many(many);
  for (const Fd& other : others) send(other, post);
  turn(8);
  meanwhile = [&] {
    for (const Fd& other : others) send(other, "hi");
  };
  send(client, slow);
  turn(1);
  turn(8);
  EXPECT_EQ(application.requests.size(), 1U + many) << "the others were told 408";
}

TEST_F(SlowCalls, LeaveTheClientItsTimeToTakeTheReply) {
  auto limits = fast_limits();
  limits.write_stall = limit;
  restart(limits);
  const std::string part(1 << 20, 'x');
  application.answer = [&](Exchange& exchange) {
    std::this_thread::sleep_for(call_time);
    ASSERT_TRUE(exchange.start(200, "OK", {}));
    exchange.finish(part);
  };
  const Fd client = connect();
  send(client, get);
  turn(3);
  EXPECT_EQ(observer.closed, 0);
  EXPECT_TRUE(receive_until(client, part).ends_with(part));
}

}  // namespace
}  // namespace green::http
