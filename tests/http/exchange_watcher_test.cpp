// Replies that are made bit by bit, by who wants to know what becomes of them.
#include <gtest/gtest.h>

#include "daemon/http/stuck_call.h"
#include "tests/http/server_fixture.h"

namespace green::http::testing {
namespace {

constexpr std::string_view get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

class ExchangeWatchers : public ServerFixture, ExchangeWatcher {
 protected:
  void exchange_changed() override { ++changes; }
  /// A connection whose request the application has, watched.
  Fd open() {
    application.answer = [this](Exchange& exchange) {
      held = &exchange;
      exchange.watch(this);
    };
    Fd client = connect();
    send(client, get);
    EXPECT_TRUE(turn_until([&] { return held != nullptr; }));
    return client;
  }
  /// More than the socket takes.
  void write_much() {
    EXPECT_TRUE(held->start(200, "OK", {}));
    const std::string part(64 << 10, 'x');
    for (int i = 0; i < 64; ++i) EXPECT_TRUE(held->write(part));
    EXPECT_GT(held->unsent(), 1U << 20);
  }

  Exchange* held = nullptr;
  int changes = 0;
};

TEST_F(ExchangeWatchers, AreToldAsTheClientTakesTheReply) {
  const Fd client = open();
  write_much();
  const auto unsent = held->unsent();
  EXPECT_EQ(changes, 0);
  std::array<char, 65536> piece;
  while (held->unsent() > 0) {
    ASSERT_GE(recv(client.get(), piece.data(), piece.size(), MSG_DONTWAIT), 0);
    turn(2);
  }
  EXPECT_GT(unsent, 0U);
  EXPECT_GT(changes, 1);
  held->finish();
}

TEST_F(ExchangeWatchers, AreToldOfAClientThatIsGone) {
  Fd client = open();
  client.reset();
  EXPECT_TRUE(turn_until([this] { return changes > 0; }));
  EXPECT_TRUE(held->input_ended());
  EXPECT_FALSE(held->client_connected());
  held->abort();
}

TEST_F(ExchangeWatchers, AreToldOfAClientThatShutsItsSideAndMayStillAnswerIt) {
  const Fd client = open();
  EXPECT_FALSE(held->input_ended());
  ASSERT_EQ(shutdown(client.get(), SHUT_WR), 0);
  EXPECT_TRUE(turn_until([this] { return changes > 0; }));
  EXPECT_TRUE(held->input_ended());
  EXPECT_TRUE(held->client_connected());
  EXPECT_TRUE(held->start(200, "OK", {}));
  held->finish("all the same");
  EXPECT_TRUE(receive_all(client).ends_with("all the same"));
}

TEST_F(ExchangeWatchers, HearNothingAfterTheReply) {
  Fd client = open();
  EXPECT_TRUE(held->start(200, "OK", {}));
  held->finish("done");
  client.reset();
  EXPECT_TRUE(turn_until([this] { return server->connection_count() == 0; }));
  EXPECT_EQ(changes, 0);
}

TEST_F(ExchangeWatchers, SendTheHeadByAnEmptyPart) {
  const Fd client = open();
  EXPECT_TRUE(held->start(200, "OK", {}));
  EXPECT_FALSE(held->head_sent());
  EXPECT_TRUE(held->write(""));
  EXPECT_TRUE(held->head_sent());
  EXPECT_TRUE(held->write(""));
  EXPECT_TRUE(held->write("part"));
  held->finish();
  std::string text = receive_until(client, "0\r\n\r\n");
  EXPECT_TRUE(text.ends_with("\r\n\r\n4\r\npart\r\n0\r\n\r\n")) << text;
}

TEST_F(ExchangeWatchers, MayHaveASignalsHandlerAnswerWhereNothingWasSent) {
  const Fd client = open();
  EXPECT_FALSE(answer_published_call());
  held->publish();
  withdraw_call();
  EXPECT_FALSE(answer_published_call());
  EXPECT_TRUE(held->start(200, "OK", {}));
  EXPECT_TRUE(held->write("a part"));
  held->publish();
  EXPECT_FALSE(answer_published_call());
  held->finish();

  held = nullptr;
  const Fd other = open();
  held->publish();
  EXPECT_TRUE(answer_published_call());
  EXPECT_EQ(receive_all(other), timeout_reply(false));
  held->abort();
}

}  // namespace
}  // namespace green::http::testing
