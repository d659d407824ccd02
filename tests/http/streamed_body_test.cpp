// Bodies that an application takes as they come, and those it does not take.
#include <gtest/gtest.h>

#include "daemon/http/stuck_call.h"
#include "tests/http/server_fixture.h"

namespace green::http::testing {
namespace {

using std::chrono::milliseconds;

constexpr std::string_view get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
constexpr std::string_view chunked_head =
    "POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

std::string head_of(std::size_t length, std::string_view more = "") {
  return "POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: " + std::to_string(length) + "\r\n" +
         std::string(more) + "\r\n";
}

/// The application has the first request until its test answers; the others are answered at once.
class StreamedBodies : public ServerFixture, ExchangeWatcher {
 protected:
  StreamedBodies() { limit({}); }
  void limit(const std::function<void(Limits&)>& change) {
    Limits limits = fast_limits();
    if (change) change(limits);
    application.streams = true;
    application.answer = [this, plain = application.answer](Exchange& exchange) {
      if (held != nullptr) return plain(exchange);
      held = &exchange;
      exchange.watch(this);
    };
    restart(limits);
  }
  void exchange_changed() override { ++changes; }
  Fd open(std::string_view request) {
    Fd client = connect();
    send(client, request);
    EXPECT_TRUE(turn_until([&] { return held != nullptr; }));
    return client;
  }
  Body& body() { return *held->request().body; }
  std::string take() {
    std::string text(body().waiting(), '\0');
    EXPECT_EQ(body().take(text), text.size());
    held->want_body();
    return text;
  }
  bool client_is_lost() {
    return turn_until([this] { return !held->client_connected(); });
  }
  void answer(std::string_view text = "answered\n") {
    EXPECT_TRUE(held->start(200, "OK", {}));
    held->finish(text);
  }
  /// What the server takes of a client that sends as much as it can.
  std::size_t pour(const Fd& client, std::size_t most = 32 << 20) {
    const std::string part(64 << 10, 'x');
    std::size_t sum = 0;
    for (int in_vain = 0; in_vain < 20 && sum < most;) {
      const auto count = ::send(client.get(), part.data(), std::min(part.size(), most - sum),
                                MSG_NOSIGNAL | MSG_DONTWAIT);
      if (count < 0 && errno != EAGAIN) break;
      in_vain = count > 0 ? 0 : in_vain + 1;
      if (count > 0) sum += static_cast<std::size_t>(count);
      turn(1);
    }
    return sum;
  }

  Exchange* held = nullptr;
  int changes = 0;
};

TEST_F(StreamedBodies, ComeAfterTheCallAndInParts) {
  const Fd client = open(head_of(6));
  EXPECT_FALSE(held->body_is_whole());
  EXPECT_EQ(body().waiting(), 0U);
  send(client, "abc");
  EXPECT_TRUE(turn_until([this] { return changes == 1; }));
  EXPECT_EQ(take(), "abc");
  EXPECT_FALSE(held->body_is_whole());
  send(client, "def");
  EXPECT_TRUE(turn_until([this] { return held->body_is_whole(); }));
  EXPECT_EQ(changes, 2);
  EXPECT_EQ(take(), "def");
  answer();
  EXPECT_TRUE(receive_until(client, "\n").ends_with("answered\n"));
  EXPECT_TRUE(ask(client, get).ends_with("GET /\n"));
}

TEST_F(StreamedBodies, AreWholeInTheCallWhereTheyCameWithTheHead) {
  const Fd client = open(head_of(6) + "abcdef" + std::string(get));
  EXPECT_TRUE(held->body_is_whole());
  EXPECT_EQ(take(), "abcdef");
  answer();
  EXPECT_TRUE(receive_until(client, "GET /\n").contains("answered\n"));
}

TEST_F(StreamedBodies, OfNoBytesAreWholeOnceTheLastChunkIsHere) {
  const Fd client = open(chunked_head);
  EXPECT_FALSE(held->body_is_whole());
  send(client, "0\r\n\r\n");
  EXPECT_TRUE(turn_until([this] { return held->body_is_whole(); }));
  EXPECT_EQ(changes, 1);
  answer();
  EXPECT_TRUE(ask(client, get).contains("answered\n"));
}

TEST_F(StreamedBodies, AreReadNoFurtherThanAWindowUntilTheyAreTaken) {
  const Fd client = open(head_of(32 << 20));
  const std::size_t first = pour(client);
  EXPECT_LT(body().waiting(), 2 * Body::window);
  EXPECT_LT(first, 4U << 20) << "the kernel's buffers and the window";
  EXPECT_TRUE(body().is_streamed());
  const std::size_t window = body().waiting();
  EXPECT_EQ(take().size(), window);
  EXPECT_TRUE(turn_until([this] { return body().waiting() >= Body::window; }));
  std::size_t sum = window;
  for (std::size_t left = (32 << 20) - first; !held->body_is_whole();) {
    left -= pour(client, std::min<std::size_t>(left, 64 << 10));
    sum += take().size();
    turn(1);
  }
  sum += take().size();
  EXPECT_EQ(sum, 32U << 20);
  answer();
  EXPECT_TRUE(ask(client, get).contains("answered\n"));
}

TEST_F(StreamedBodies, AreInvitedOnceTheApplicationWantsThem) {
  const Fd client = open(head_of(2, "Expect: 100-continue\r\n"));
  turn();
  EXPECT_EQ(ServerFixture::take(client), "");
  held->want_body();
  held->want_body();
  EXPECT_EQ(receive_until(client, "\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  send(client, "hi");
  EXPECT_TRUE(turn_until([this] { return held->body_is_whole(); }));
  EXPECT_EQ(take(), "hi");
  answer();
  EXPECT_TRUE(ask(client, get).contains("answered\n"));
}

TEST_F(StreamedBodies, ThatWereNotInvitedEndTheConnectionWithTheReply) {
  const Fd client = open(head_of(2, "Expect: 100-continue\r\n"));
  answer();
  const std::string reply = receive_all(client);
  EXPECT_TRUE(reply.starts_with("HTTP/1.1 200 OK\r\n"));
  EXPECT_TRUE(reply.contains("\r\nConnection: close\r\n"));
}

TEST_F(StreamedBodies, ThatNobodyTookAreSkippedForTheNextRequest) {
  const Fd client = open(head_of(100'000) + std::string(1000, 'x'));
  answer();
  EXPECT_FALSE(receive_until(client, "answered\n").contains("Connection: close"));
  EXPECT_EQ(observer.done, 1);
  send(client, std::string(99'000, 'x'));
  EXPECT_TRUE(ask(client, get).ends_with("GET /\n"));
  EXPECT_EQ(observer.done, 2);
}

TEST_F(StreamedBodies, OfChunksAreSkippedToo) {
  const Fd client = open(std::string(chunked_head) + "3\r\nabc\r\n");
  answer();
  receive_until(client, "answered\n");
  send(client, "2\r\nde\r\n0\r\n\r\n");
  EXPECT_TRUE(ask(client, get).ends_with("GET /\n"));
}

TEST_F(StreamedBodies, ThatAreTooLongToSkipEndTheConnection) {
  const Fd client = open(head_of((2 << 20) + 1));
  answer();
  EXPECT_TRUE(receive_all(client).contains("\r\nConnection: close\r\n"));

  held = nullptr;
  const Fd other = open(chunked_head);
  answer();
  EXPECT_FALSE(receive_until(other, "answered\n").contains("Connection: close"));
  send(other, "fffffff\r\n");
  EXPECT_LT(pour(other), 4U << 20);
  receive_all(other);
}

TEST_F(StreamedBodies, ThatAreSkippedAndMalformedEndTheConnection) {
  const Fd client = open(chunked_head);
  answer();
  receive_until(client, "answered\n");
  send(client, "nonsense" + std::string(get));
  EXPECT_EQ(receive_all(client), "");
  EXPECT_EQ(observer.calls, 1);
}

TEST_F(StreamedBodies, ThatAreSkippedAndStopComingEndTheConnection) {
  limit([](Limits& limits) { limits.body_idle = milliseconds(50); });
  const Fd client = open(head_of(100));
  answer();
  EXPECT_TRUE(receive_all(client).ends_with("answered\n"));
}

TEST_F(StreamedBodies, AreReadWhileALongReplyIsSent) {
  const Fd client = open(head_of(1 << 20));
  EXPECT_TRUE(held->start(200, "OK", {}));
  held->finish(std::string(8 << 20, 'r'));
  EXPECT_EQ(pour(client, 1 << 20), 1U << 20) << "a client that sends first and reads then";
  receive_until(client, "r");
  EXPECT_TRUE(ask(client, get).ends_with("GET /\n"));
}

TEST_F(StreamedBodies, OfAReplyThatIsGivenMeanwhileAreTheApplicationsStill) {
  const Fd client = open(head_of(6));
  EXPECT_TRUE(held->start(200, "OK", {}));
  EXPECT_TRUE(held->write("begun"));
  send(client, "abcdef");
  EXPECT_TRUE(turn_until([this] { return held->body_is_whole(); }));
  EXPECT_TRUE(held->write(take()));
  held->finish();
  EXPECT_TRUE(ask(client, get).contains("abcdef"));
}

TEST_F(StreamedBodies, ThatAreMalformedAreRefusedAndTheirClientIsGone) {
  Fd client = open(std::string(chunked_head) + "3\r\nabc\r\n");
  send(client, "nonsense\r\n");
  EXPECT_TRUE(client_is_lost());
  EXPECT_GT(changes, 0);
  EXPECT_TRUE(receive_all(client).starts_with("HTTP/1.1 400 Bad Request\r\n"));
  EXPECT_FALSE(held->start(200, "OK", {}) && held->write("too late"));
  held->finish();
  EXPECT_EQ(observer.done, 1);
  client.reset();
  EXPECT_TRUE(turn_until([this] { return server->connection_count() == 0; }));
}

TEST_F(StreamedBodies, ThatAreTooLongAreRefusedSoThatTheClientReadsIt) {
  limit([](Limits& limits) { limits.body_bytes = 100'000; });
  const Fd client = open(std::string(chunked_head) + "fffff\r\n");
  const std::string part(8 << 10, 'x');
  for (int i = 0; i < 20 && held->client_connected(); ++i) {
    send(client, part);
    turn();
    if (held->client_connected()) take();
  }
  EXPECT_FALSE(held->client_connected());
  held->abort();
  send(client, part);
  const std::string reply = receive_until(client, "\n");
  EXPECT_TRUE(reply.starts_with("HTTP/1.1 413 Content Too Large\r\n")) << reply;
  EXPECT_TRUE(reply.contains("\r\nConnection: close\r\n"));
  EXPECT_EQ(observer.done, 1);
}

TEST_F(StreamedBodies, ThatFailOnceTheReplyHasBegunCutIt) {
  const Fd client = open(chunked_head);
  EXPECT_TRUE(held->start(200, "OK", std::vector<Header>{{"Content-Length", "10"}}));
  EXPECT_TRUE(held->write("begun"));
  send(client, "nonsense\r\n");
  EXPECT_TRUE(client_is_lost());
  EXPECT_FALSE(receive_all(client).contains("400"));
  held->abort();
}

TEST_F(StreamedBodies, ThatStopComingAreGivenUp) {
  limit([](Limits& limits) { limits.body_idle = milliseconds(50); });
  const Fd client = open(head_of(6) + "abc");
  EXPECT_TRUE(client_is_lost());
  EXPECT_TRUE(receive_all(client).starts_with("HTTP/1.1 408 Request Timeout\r\n"));
  held->abort();
}

TEST_F(StreamedBodies, ThatWaitForTheApplicationHaveAllTheTimeTheyNeed) {
  limit([](Limits& limits) { limits.body_idle = milliseconds(50); });
  const Fd uninvited = open(head_of(6, "Expect: 100-continue\r\n"));
  EXPECT_FALSE(turn_until([this] { return !held->client_connected(); }, milliseconds(150)));
  answer();

  held = nullptr;
  const Fd full = open(head_of(1 << 20));
  pour(full, 1 << 20);
  EXPECT_FALSE(turn_until([this] { return !held->client_connected(); }, milliseconds(150)));
  take();
  EXPECT_TRUE(turn_until([this] { return body().waiting() > 0; }));
  answer();
}

TEST_F(StreamedBodies, OfAClientThatLeavesAmidOneEndTheExchange) {
  Fd client = open(head_of(6) + "abc");
  client.reset();
  EXPECT_TRUE(client_is_lost());
  EXPECT_GT(changes, 0);
  held->abort();
  EXPECT_EQ(server->connection_count(), 0U);

  held = nullptr;
  Fd half = open(head_of(6) + "abc");
  ASSERT_EQ(shutdown(half.get(), SHUT_WR), 0);
  EXPECT_TRUE(client_is_lost()) << "what will never be whole";
  held->abort();
}

TEST_F(StreamedBodies, OfAClientThatLeavesAreReadToTheirEndFirst) {
  Fd client = open(head_of(100'000));
  send(client, std::string(100'000, 'x'));
  ASSERT_EQ(shutdown(client.get(), SHUT_WR), 0);
  std::size_t sum = 0;
  EXPECT_TRUE(turn_until([&] {
    sum += take().size();
    return held->body_is_whole() && body().waiting() == 0;
  }));
  EXPECT_EQ(sum, 100'000U);
  EXPECT_TRUE(held->client_connected());
  answer();
  EXPECT_TRUE(receive_all(client).ends_with("answered\n"));
}

TEST_F(StreamedBodies, AreWaitedForInADrain) {
  Fd client = open(head_of(6) + "abc");
  bool is_drained = false;
  server->drain([&] { is_drained = true; });
  turn();
  EXPECT_FALSE(is_drained);
  send(client, "def");
  EXPECT_TRUE(turn_until([this] { return held->body_is_whole(); }));
  answer();
  EXPECT_TRUE(receive_all(client).contains("\r\nConnection: close\r\n"));
  client.reset();
  EXPECT_TRUE(turn_until([&] { return is_drained; }));
}

TEST_F(StreamedBodies, OfRequestsWithoutOneCostNoFurtherTurn) {
  const Fd client = open(get);
  EXPECT_TRUE(held->body_is_whole());
  answer();
  EXPECT_TRUE(receive_until(client, "\n").ends_with("answered\n"));
}

TEST_F(StreamedBodies, AreNotOfferedToAHandshakeWhichHasNone) {
  const Fd client = connect();
  send(client,
       "GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
       "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
       "Content-Length: 3\r\n\r\n");
  turn();
  EXPECT_EQ(held, nullptr);
  send(client, "abc");
  EXPECT_TRUE(turn_until([this] { return held != nullptr; }));
  EXPECT_FALSE(body().is_streamed());
  EXPECT_EQ(body().size(), 3U);
  answer();
}

TEST_F(StreamedBodies, LeaveTheExchangeToTheApplicationThatWasGivenUp) {
  const Fd client = open(head_of(6) + "abc");
  held->give_up();
  send(client, "def");
  EXPECT_EQ(receive_all(client), timeout_reply(false));
  EXPECT_EQ(body().waiting(), 3U);
  held->want_body();
  turn();
  held->finish();
  EXPECT_EQ(server->connection_count(), 0U);
}

}  // namespace
}  // namespace green::http::testing
