// WebSockets on real connections: the upgrade, messages, back-pressure, pings, and how they close
// in every order of events.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "daemon/http/websocket.h"
#include "daemon/http/websocket_handshake.h"
#include "tests/http/resident_bytes.h"
#include "tests/http/server_fixture.h"
#include "tests/http/websocket_bytes.h"

namespace green::http::testing {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// Without the kernel's, and with what a listener of this test takes.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr std::size_t most_memory_of_an_idle_websocket = 64 << 10;  // the sanitizer's own
#else
constexpr std::size_t most_memory_of_an_idle_websocket = 3 << 10;
#endif

constexpr unsigned text = 1, binary = 2, close = 8, ping = 9, pong = 10;
constexpr std::string_view handshake =
    "GET /chat HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n";

ServerFrame sent_frame(unsigned opcode, std::string payload) {
  return {0x80U | opcode, std::move(payload)};
}

/// What an application has of a WebSocket.
struct Listener final : WebSocketReceiver {
  std::vector<std::pair<MessageKind, std::string>> messages;
  std::vector<std::pair<int, std::string>> closes;
  int taken_count = 0;
  WebSocket* socket = nullptr;
  bool pauses_after_each = false;
  bool echoes = false;
  bool finishes_when_closed = true;

  void message(MessageKind kind, std::string_view data) override {
    messages.emplace_back(kind, data);
    if (pauses_after_each) socket->pause();
    if (echoes && !socket->send(kind, data)) ADD_FAILURE() << "the client is gone";
  }
  void closed(int code, std::string_view reason) override {
    closes.emplace_back(code, reason);
    if (finishes_when_closed) finish();
  }
  void taken() override { ++taken_count; }
  void finish(int code = close_normal) {
    if (socket != nullptr) std::exchange(socket, nullptr)->finish(code);
  }
};

using Closes = std::vector<std::pair<int, std::string>>;

class WebSockets : public ServerFixture {
 protected:
  WebSockets() {
    limits.websocket_compression = false;
    limits.linger = milliseconds(100);
  }

  /// A client whose handshake was accepted.
  Fd open() {
    restart(limits);
    application.answer = [this](Exchange& exchange) { accept(exchange); };
    Fd client = connect();
    send(client, handshake);
    const auto head = receive_until(client, "\r\n\r\n");
    EXPECT_TRUE(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n")) << head;
    EXPECT_NE(listener.socket, nullptr);
    return client;
  }
  void accept(Exchange& exchange) {
    const auto made = exchange.accept_websocket("", {}, listener);
    ASSERT_TRUE(made) << made.error().message();
    listener.socket = *made;
  }

  /// The next frames that the server sends.
  std::vector<ServerFrame> frames(const Fd& client, std::size_t count) {
    std::vector<ServerFrame> all;
    turn_until([&] {
      input += take(client);
      for (auto& frame : take_server_frames(input)) all.push_back(std::move(frame));
      return all.size() >= count;
    });
    return all;
  }
  ServerFrame frame(const Fd& client) {
    if (waiting.empty()) waiting = frames(client, 1);
    if (waiting.empty()) {
      ADD_FAILURE() << "no frame came";
      return {};
    }
    auto first = std::move(waiting.front());
    waiting.erase(waiting.begin());
    return first;
  }
  /// The rest of what it sends, up to the connection's end.
  std::vector<ServerFrame> rest(const Fd& client) {
    input += receive_all(client);
    auto all = std::exchange(waiting, {});
    for (auto& one : take_server_frames(input)) all.push_back(std::move(one));
    EXPECT_EQ(input, "");
    return all;
  }
  void expect_gone() {
    EXPECT_TRUE(turn_until([&] { return server->connection_count() == 0; }));
    EXPECT_EQ(observer.done, observer.calls);
    EXPECT_EQ(observer.opened, observer.closed);
  }

  Limits limits = fast_limits();
  Listener listener;
  std::string input;
  std::vector<ServerFrame> waiting;  ///< frames that came with one before
};

TEST_F(WebSockets, CarryMessagesBothWays) {
  const Fd client = open();
  listener.echoes = true;
  send(client, client_frame(text, "hello") + client_frame(binary, std::string("\0\xff", 2)));
  EXPECT_EQ(frame(client), sent_frame(text, "hello"));
  EXPECT_EQ(frame(client), sent_frame(binary, std::string("\0\xff", 2)));
  ASSERT_EQ(listener.messages.size(), 2U);
  EXPECT_EQ(listener.messages[0].first, MessageKind::text);
  EXPECT_EQ(listener.messages[1].first, MessageKind::binary);
  EXPECT_EQ(observer.done, 0) << "one request in flight as long as it is open";
}

TEST_F(WebSockets, AreAcceptedLaterThanTheCallToo) {
  restart(limits);
  Exchange* held = nullptr;
  application.answer = [&](Exchange& exchange) { held = &exchange; };
  const Fd client = connect();
  send(client, std::string(handshake) + client_frame(text, "early"));
  ASSERT_TRUE(turn_until([&] { return held != nullptr; }));
  accept(*held);
  EXPECT_TRUE(listener.messages.empty()) << "told from within the accepting";
  EXPECT_TRUE(turn_until([&] { return listener.messages.size() == 1; }));
  EXPECT_EQ(listener.messages[0].second, "early");
  listener.finish();
}

TEST_F(WebSockets, CarryLargeMessagesBothWays) {
  const Fd client = open();
  listener.echoes = true;
  std::string message;
  for (int i = 0; i < 1'000'000; ++i) message += static_cast<char>('a' + i % 26);
  send(client, client_frame(text, message));
  EXPECT_EQ(frame(client), sent_frame(text, message));
}

TEST_F(WebSockets, CompressWhereTheClientOffersIt) {
  limits.websocket_compression = true;
  const Fd client = open();
  listener.echoes = true;
  send(client, client_frame(text, {"\xf2\x48\xcd\xc9\xc9\x07\x00", 7}, {.reserved = 4}));
  EXPECT_EQ(frame(client), sent_frame(text, "Hello"));
  EXPECT_TRUE(listener.socket->send(MessageKind::text, std::string(10'000, 'x')));
  const auto compressed = frame(client);
  EXPECT_EQ(compressed.first, 0xc1U);
  EXPECT_LT(compressed.payload.size(), 200U);
}

TEST_F(WebSockets, AreRefusedByAnOrdinaryReply) {
  restart(limits);
  application.answer = [](Exchange& exchange) {
    EXPECT_TRUE(exchange.start(403, "Forbidden", {}));
    exchange.finish("no\n");
  };
  const Fd client = connect();
  EXPECT_TRUE(ask(client, handshake).starts_with("HTTP/1.1 403 Forbidden\r\n"));
}

TEST_F(WebSockets, OfAnotherVersionAreToldTheOne) {
  application.answer = [](Exchange& exchange) {
    const auto offer = read_websocket_offer(exchange.request());
    ASSERT_FALSE(offer);
    refuse_websocket(exchange, offer.error());
  };
  const Fd client = connect();
  std::string old(handshake);
  old.replace(old.find("Version: 13"), 11, "Version: 8");
  const auto reply = ask(client, old);
  EXPECT_TRUE(reply.starts_with("HTTP/1.1 426 ")) << reply;
  EXPECT_NE(reply.find("\r\nSec-WebSocket-Version: 13\r\n"), std::string::npos);
}

TEST_F(WebSockets, AreNothingThatAPlainRequestBecomes) {
  std::string error;
  application.answer = [&](Exchange& exchange) {
    const auto made = exchange.accept_websocket("", {}, listener);
    if (!made) error = made.error().message();
    exchange.abort();
  };
  const Fd client = connect();
  ask(client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_NE(error, "");
}

TEST_F(WebSockets, CloseAsTheClientDoes) {
  const Fd client = open();
  send(client, client_frame(close, close_payload(4001, "enough")));
  EXPECT_EQ(rest(client), std::vector{sent_frame(close, close_payload(4001))});
  EXPECT_EQ(listener.closes, (Closes{{4001, "enough"}}));
  expect_gone();
}

TEST_F(WebSockets, AnswerACloseWithoutACodeBySuch) {
  const Fd client = open();
  send(client, client_frame(close, ""));
  EXPECT_EQ(rest(client), std::vector{sent_frame(close, "")});
  EXPECT_EQ(listener.closes, (Closes{{1005, ""}}));
}

TEST_F(WebSockets, TellMessagesBeforeACloseThatFollowsThem) {
  const Fd client = open();
  send(client, client_frame(text, "last") + client_frame(close, close_payload(1000)) +
                   client_frame(text, "too late"));
  EXPECT_EQ(rest(client), std::vector{sent_frame(close, close_payload(1000))});
  ASSERT_EQ(listener.messages.size(), 1U);
  EXPECT_EQ(listener.messages[0].second, "last");
}

TEST_F(WebSockets, CloseAsTheApplicationDoes) {
  const Fd client = open();
  ASSERT_TRUE(listener.socket->close(3000, "bye"));
  EXPECT_FALSE(listener.socket->is_open());
  EXPECT_FALSE(listener.socket->send(MessageKind::text, "late"));
  EXPECT_TRUE(listener.socket->close(1000, "again"));
  EXPECT_EQ(frame(client), sent_frame(close, close_payload(3000, "bye")));
  send(client, client_frame(text, "crossed") + client_frame(ping, "crossed") +
                   client_frame(close, close_payload(3000)));
  EXPECT_TRUE(rest(client).empty());
  EXPECT_TRUE(listener.messages.empty());
  EXPECT_EQ(listener.closes, (Closes{{3000, ""}}));
  expect_gone();
}

TEST_F(WebSockets, CloseWhereBothDoAtOnce) {
  const Fd client = open();
  send(client, client_frame(close, close_payload(1001)));
  ASSERT_TRUE(listener.socket->close(1000, {}));
  EXPECT_EQ(rest(client), std::vector{sent_frame(close, close_payload(1000))});
  EXPECT_EQ(listener.closes, (Closes{{1001, ""}}));
}

TEST_F(WebSockets, CloseWhereTheApplicationIsDone) {
  const Fd client = open();
  listener.finish(close_failed);
  EXPECT_EQ(frame(client), sent_frame(close, close_payload(1011)));
  EXPECT_EQ(server->connection_count(), 1U);
  send(client, client_frame(close, close_payload(1011)));
  EXPECT_TRUE(rest(client).empty());
  EXPECT_TRUE(listener.closes.empty());
  expect_gone();
}

TEST_F(WebSockets, WaitForTheApplicationAfterTheClientIsGone) {
  Fd client = open();
  listener.finishes_when_closed = false;
  client.reset();
  EXPECT_TRUE(turn_until([&] { return !listener.closes.empty(); }));
  EXPECT_EQ(listener.closes, (Closes{{1006, ""}}));
  turn();
  EXPECT_EQ(server->connection_count(), 1U);
  EXPECT_EQ(observer.done, 0);
  EXPECT_FALSE(listener.socket->send(MessageKind::text, "to nobody"));
  EXPECT_EQ(listener.socket->unsent(), 0U);
  EXPECT_TRUE(listener.socket->close(1000, {}));
  listener.finish();
  expect_gone();
}

TEST_F(WebSockets, AreFinishedWithinTheCallThatAcceptedThem) {
  restart(limits);
  application.answer = [this](Exchange& exchange) {
    accept(exchange);
    ASSERT_TRUE(listener.socket->send(MessageKind::text, "only this"));
    listener.finish();
  };
  const Fd client = connect();
  send(client, handshake);
  input = receive_until(client, close_payload(1000));
  input.erase(0, input.find("\r\n\r\n") + 4);
  EXPECT_EQ(take_server_frames(input),
            (std::vector{sent_frame(text, "only this"), sent_frame(close, close_payload(1000))}));
  send(client, client_frame(close, close_payload(1000)));
  receive_all(client);
  expect_gone();
}

TEST_F(WebSockets, OfAClientThatIsGoneWithinTheCallEnd) {
  restart(limits);
  Fd client = connect();
  application.answer = [&](Exchange& exchange) {
    accept(exchange);
    client.reset();
    EXPECT_FALSE(listener.socket->send(MessageKind::text, "to nobody"));
    listener.finish();
  };
  send(client, handshake);
  expect_gone();
}

TEST_F(WebSockets, RefuseCodesAndReasonsThatMayNotBeSent) {
  const Fd client = open();
  for (const int code : {0, 999, 1004, 1005, 1006, 1015, 2999, 5000}) {
    EXPECT_EQ(listener.socket->close(code, {}).error().code(), ErrorCode::application) << code;
  }
  EXPECT_FALSE(listener.socket->close(1000, std::string(124, 'x')));
  EXPECT_FALSE(listener.socket->close(1000, "\xff"));
  EXPECT_TRUE(listener.socket->is_open());
  EXPECT_TRUE(listener.socket->close(1000, std::string(123, 'x')));
}

TEST_F(WebSockets, FailWithTheCodeOfWhatIsWrong) {
  struct Case {
    std::string bytes;
    int code;
  };
  limits.websocket_message_bytes = 100;
  for (const auto& [bytes, code] :
       {Case{client_frame(3, ""), 1002}, Case{client_frame(text, "\xff"), 1007},
        Case{client_frame(binary, std::string(101, 'x')), 1009}}) {
    const Fd client = open();
    send(client, bytes + client_frame(text, "not read"));
    const auto last = rest(client);
    ASSERT_EQ(last.size(), 1U);
    EXPECT_EQ(last[0].first, 0x88U);
    EXPECT_EQ(last[0].payload.substr(0, 2), close_payload(code));
    ASSERT_EQ(listener.closes.size(), 1U);
    EXPECT_EQ(listener.closes[0].first, code);
    EXPECT_TRUE(listener.messages.empty());
    listener.closes.clear();
    expect_gone();
  }
}

TEST_F(WebSockets, AnswerPings) {
  const Fd client = open();
  send(client, client_frame(ping, "there?") + client_frame(pong, "unasked"));
  EXPECT_EQ(frame(client), sent_frame(pong, "there?"));
  EXPECT_TRUE(listener.messages.empty());
}

TEST_F(WebSockets, PingASilentClientAndKeepOneThatAnswers) {
  limits.websocket_ping_interval = milliseconds(20);
  limits.websocket_ping_timeout = seconds(5);
  const Fd client = open();
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(frame(client), sent_frame(ping, ""));
    send(client, client_frame(pong, ""));
  }
  EXPECT_TRUE(listener.closes.empty());
}

TEST_F(WebSockets, EndWhereAPingIsNotAnswered) {
  limits.websocket_ping_interval = milliseconds(20);
  limits.websocket_ping_timeout = milliseconds(20);
  const Fd client = open();
  const auto last = rest(client);
  ASSERT_EQ(last.size(), 2U);
  EXPECT_EQ(last[0], sent_frame(ping, ""));
  EXPECT_EQ(last[1].payload.substr(0, 2), close_payload(1011));
  EXPECT_EQ(listener.closes, (Closes{{1006, ""}}));
}

TEST_F(WebSockets, HoldMessagesBackWhilePaused) {
  const Fd client = open();
  listener.pauses_after_each = true;
  send(client, client_frame(text, "1") + client_frame(text, "2") + client_frame(text, "3"));
  for (std::size_t count = 1; count <= 3; ++count) {
    EXPECT_TRUE(turn_until([&] { return listener.messages.size() == count; }));
    turn();
    EXPECT_EQ(listener.messages.size(), count);
    listener.socket->resume();
    EXPECT_EQ(listener.messages.size(), count) << "told from within resume()";
  }
}

TEST_F(WebSockets, StopReadingAClientWhosePausedApplicationHasEnough) {
  const Fd client = open();
  listener.pauses_after_each = true;
  const std::string message = client_frame(binary, std::string(50'000, 'x'));
  // No more than the kernel and one reading hold.
  std::size_t taken = 0;
  for (int quiet = 0; quiet < 20;) {
    const auto count =
        ::send(client.get(), message.data(), message.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    quiet = count > 0 ? 0 : quiet + 1;
    taken += count > 0 ? static_cast<std::size_t>(count) : 0;
    ASSERT_LT(taken, 8U << 20);
    turn(1);
  }
  EXPECT_EQ(listener.messages.size(), 1U);
  listener.pauses_after_each = false;
  listener.socket->resume();
  const auto whole = taken / message.size();
  EXPECT_TRUE(turn_until([&] { return listener.messages.size() >= whole; }));
}

TEST_F(WebSockets, TellOfAClientThatBrokeOffWhilePaused) {
  Fd client = open();
  listener.socket->pause();
  send(client, client_frame(text, "unread"));
  turn();
  client.reset();
  EXPECT_TRUE(turn_until([&] { return !listener.closes.empty(); }));
  EXPECT_EQ(listener.closes, (Closes{{1006, ""}}));
  expect_gone();
}

TEST_F(WebSockets, CountWhatASlowClientHasNotTakenAndTellWhenItHas) {
  const Fd client = open();
  const std::string message(100'000, 'x');
  std::size_t count = 0;
  while (listener.socket->unsent() < 200'000) {
    ASSERT_TRUE(listener.socket->send(MessageKind::binary, message));
    ++count;
  }
  EXPECT_EQ(listener.taken_count, 0);
  EXPECT_EQ(frames(client, count).size(), count);
  EXPECT_TRUE(turn_until([&] { return listener.socket->unsent() == 0; }));
  EXPECT_GT(listener.taken_count, 0);
}

TEST_F(WebSockets, AnswerOnlyTheLatestPingOfAClientThatTakesNothing) {
  const Fd client = open();
  while (listener.socket->unsent() == 0) {
    ASSERT_TRUE(listener.socket->send(MessageKind::binary, std::string(100'000, 'x')));
  }
  const auto unsent = listener.socket->unsent();
  for (int i = 0; i < 100; ++i) send(client, client_frame(ping, std::to_string(i)));
  turn(100);
  EXPECT_EQ(listener.socket->unsent(), unsent);
  std::vector<ServerFrame> all;
  EXPECT_TRUE(turn_until([&] {
    input += take(client);
    for (auto& one : take_server_frames(input)) all.push_back(std::move(one));
    return !all.empty() && all.back().first == (0x80U | pong);
  }));
  EXPECT_EQ(all.back(), sent_frame(pong, "99"));
}

TEST_F(WebSockets, CutAClientThatTakesNothing) {
  limits.write_stall = milliseconds(50);
  const Fd client = open();
  while (listener.socket->unsent() == 0) {
    ASSERT_TRUE(listener.socket->send(MessageKind::binary, std::string(100'000, 'x')));
  }
  EXPECT_TRUE(turn_until([&] { return !listener.closes.empty(); }));
  EXPECT_EQ(listener.closes, (Closes{{1006, ""}}));
  expect_gone();
}

TEST_F(WebSockets, SendWhatIsUnsentBeforeTheClose) {
  const Fd client = open();
  std::size_t count = 0;
  while (listener.socket->unsent() == 0) {
    ASSERT_TRUE(listener.socket->send(MessageKind::binary, std::string(100'000, 'x')));
    ++count;
  }
  listener.finish();
  send(client, client_frame(close, close_payload(1000)));
  const auto all = rest(client);
  ASSERT_EQ(all.size(), count + 1);
  EXPECT_EQ(all.back(), sent_frame(close, close_payload(1000)));
  expect_gone();
}

TEST_F(WebSockets, LiveOnInADrainAndAreClosedWith1012AtItsEnd) {
  limits.drain_late = milliseconds(150);
  limits.drain_latest = milliseconds(200);
  const Fd client = open();
  listener.echoes = true;
  bool drained = false;
  server->drain([&] { drained = true; });
  send(client, client_frame(text, "still there"));
  EXPECT_EQ(frame(client), sent_frame(text, "still there"));
  EXPECT_EQ(frame(client), sent_frame(close, close_payload(1012)));
  EXPECT_EQ(listener.closes, (Closes{{1012, ""}}));
  EXPECT_FALSE(drained);
  send(client, client_frame(close, close_payload(1012)));
  EXPECT_TRUE(rest(client).empty());
  EXPECT_TRUE(turn_until([&] { return drained; }));
  expect_gone();
}

TEST_F(WebSockets, OfAClientThatDoesNotAnswerEndInADrainAllTheSame) {
  limits.drain_late = milliseconds(10);
  limits.drain_latest = milliseconds(20);
  limits.linger = milliseconds(50);
  const Fd client = open();
  bool drained = false;
  server->drain([&] { drained = true; });
  EXPECT_EQ(frame(client), sent_frame(close, close_payload(1012)));
  EXPECT_TRUE(turn_until([&] { return drained; }));
  expect_gone();
}

TEST_F(WebSockets, HoldUpADrainUntilTheApplicationIsDone) {
  limits.drain_late = milliseconds(10);
  limits.drain_latest = milliseconds(20);
  const Fd client = open();
  listener.finishes_when_closed = false;
  bool drained = false;
  server->drain([&] { drained = true; });
  EXPECT_EQ(frame(client), sent_frame(close, close_payload(1012)));
  send(client, client_frame(close, close_payload(1012)));
  rest(client);
  turn();
  EXPECT_FALSE(drained);
  listener.finish();
  EXPECT_TRUE(turn_until([&] { return drained; }));
}

TEST_F(WebSockets, HoldThousandsOfIdleOnesInLittleMemory) {
  rlimit files{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &files), 0);
  files.rlim_cur = files.rlim_max;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &files), 0);
  const auto count = std::min<rlim_t>(5'000, (files.rlim_cur - 64) / 2);
  ASSERT_GE(count, 1000U);
  limits.websocket_compression = true;
  restart(limits);
  std::vector<std::unique_ptr<Listener>> listeners;
  application.answer = [&](Exchange& exchange) {
    auto one = std::make_unique<Listener>();
    const auto made = exchange.accept_websocket("", {}, *one);
    ASSERT_TRUE(made);
    one->socket = *made;
    one->echoes = true;
    listeners.push_back(std::move(one));
  };
  const auto message = client_frame(text, std::string(400, 'm'));
  const auto speak = [&] {
    Fd client = connect();
    send(client, handshake);
    receive_until(client, "\r\n\r\n");
    send(client, message);
    input.clear();
    EXPECT_EQ(frame(client).first, 0xc1U);
    listeners.back()->messages = {};
    application.requests = {};
    return client;
  };
  std::vector<Fd> clients;
  clients.reserve(count + 100);
  listeners.reserve(count + 100);
  // What is made once is there before the measurement.
  for (int i = 0; i < 100; ++i) clients.push_back(speak());
  const auto before = resident_bytes();
  for (rlim_t i = 0; i < count; ++i) clients.push_back(speak());
  const auto each = (resident_bytes() - before) / count;
  RecordProperty("bytes_an_idle_websocket", static_cast<int>(each));
  EXPECT_LE(each, most_memory_of_an_idle_websocket);
  for (auto& one : listeners) one->finish();
  server.reset();
}

TEST_F(WebSockets, EndWithTheirServer) {
  const Fd client = open();
  server.reset();
  bool ended = false;
  take(client, &ended);
  EXPECT_TRUE(ended);
  listener.socket = nullptr;
}

}  // namespace
}  // namespace green::http::testing
