// Requests whose application has had its time: given up by the loop, or by a signal's handler.
#include <gtest/gtest.h>

#include "daemon/http/stuck_call.h"
#include "tests/http/server_fixture.h"

namespace green::http::testing {
namespace {

constexpr std::string_view get = "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n";
const std::string reply_504(timeout_reply(false));

class GiveUp : public ServerFixture {
 protected:
  /// A connection whose request the application has and does not answer.
  Fd stuck(std::string_view request = get) {
    application.answer = [this](Exchange& exchange) { held = &exchange; };
    Fd client = connect();
    send(client, request);
    EXPECT_TRUE(turn_until([&] { return held != nullptr; }));
    return client;
  }

  Exchange* held = nullptr;
};

TEST_F(GiveUp, AnswersWith504AndCloses) {
  const Fd client = stuck();
  held->give_up();
  EXPECT_EQ(receive_all(client), reply_504);
  EXPECT_EQ(reply_504.substr(reply_504.find("\r\n\r\n") + 4).size(), 60U);
}

TEST_F(GiveUp, LeavesTheRequestToTheApplicationUntilItIsDoneWithIt) {
  const Fd client = stuck();
  held->give_up();
  EXPECT_EQ(receive_all(client), reply_504);
  EXPECT_EQ(held->request().path, "/slow");
  EXPECT_FALSE(held->client_connected());
  EXPECT_EQ(observer.done, 0);
  EXPECT_TRUE(held->start(200, "OK", {}));
  EXPECT_FALSE(held->write("too late"));
  held->finish();
  turn();
  EXPECT_EQ(server->connection_count(), 0U);
  EXPECT_EQ(observer.done, 1);
}

TEST_F(GiveUp, TakesOnlyTheHeadToHead) {
  const Fd client = stuck("HEAD /slow HTTP/1.1\r\nHost: a\r\n\r\n");
  held->give_up();
  EXPECT_EQ(receive_all(client), timeout_reply(true));
}

TEST_F(GiveUp, CutsAReplyThatHasBegunWithoutAddingToIt) {
  const Fd client = stuck();
  ASSERT_TRUE(held->start(200, "OK", std::vector<Header>{{"Content-Length", "10"}}));
  ASSERT_TRUE(held->write("abc"));
  held->give_up();
  const std::string reply = receive_all(client);
  EXPECT_TRUE(reply.ends_with("\r\n\r\nabc")) << reply;
}

TEST_F(GiveUp, DropsWhatTheClientSentAhead) {
  const Fd client = stuck(std::string(get) + std::string(get));
  held->give_up();
  EXPECT_EQ(receive_all(client), reply_504);
  held->finish();
  turn();
  EXPECT_EQ(application.requests.size(), 1U);
}

TEST_F(GiveUp, IsNothingToWaitForInADrain) {
  const Fd client = stuck();
  bool drained = false;
  server->drain([&] { drained = true; });
  turn();
  EXPECT_FALSE(drained);
  held->give_up();
  EXPECT_EQ(receive_all(client), reply_504);
  shutdown(client.get(), SHUT_WR);
  EXPECT_TRUE(turn_until([&] { return drained; }));
  EXPECT_EQ(server->connection_count(), 1U);
  held->abort();
}

TEST_F(GiveUp, IsPossibleAfterTheClientWent) {
  Fd client = stuck();
  client.reset();
  EXPECT_TRUE(turn_until([&] { return !held->client_connected(); }));
  bool drained = false;
  server->drain([&] { drained = true; });
  turn();
  EXPECT_FALSE(drained);
  held->give_up();
  EXPECT_TRUE(turn_until([&] { return drained; }));
  held->abort();
  turn();
  EXPECT_EQ(server->connection_count(), 0U);
}

TEST_F(GiveUp, IsDoneByAHandlerWhileTheCallHoldsTheLoop) {
  application.answer = [](Exchange& exchange) {
    EXPECT_TRUE(answer_published_call());
    EXPECT_FALSE(answer_published_call());
    // The call comes to its end after all.
    EXPECT_TRUE(exchange.start(200, "OK", {}));
    exchange.finish("late\n");
  };
  const Fd client = connect();
  send(client, std::string(get) + std::string(get));
  EXPECT_EQ(receive_all(client), reply_504);
  turn();
  EXPECT_EQ(application.requests.size(), 1U);
  EXPECT_EQ(server->connection_count(), 0U);
}

TEST_F(GiveUp, IsNotForAHandlerOnceSomethingWasSent) {
  application.answer = [](Exchange& exchange) {
    EXPECT_TRUE(exchange.start(200, "OK", {}));
    EXPECT_TRUE(exchange.write("abc"));
    EXPECT_FALSE(answer_published_call());
    exchange.finish("\n");
  };
  const Fd client = connect();
  EXPECT_TRUE(ask(client, get).ends_with("\n"));
}

TEST_F(GiveUp, IsNotForAHandlerBetweenCalls) {
  EXPECT_FALSE(answer_published_call());
  const Fd client = connect();
  EXPECT_EQ(ask(client, get).substr(0, 15), "HTTP/1.1 200 OK");
  EXPECT_FALSE(answer_published_call());
  const Fd other = stuck();
  EXPECT_FALSE(answer_published_call()) << "call() returned: the loop turns";
  held->abort();
}

}  // namespace
}  // namespace green::http::testing
