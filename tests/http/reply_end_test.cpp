// Replies whose end is the connection's: one that is not whole may not look as if it were
// (RFC 9112, 8).
#include <gtest/gtest.h>

#include "daemon/http/stuck_call.h"
#include "tests/http/server_fixture.h"

namespace green::http {
namespace {

using std::chrono::milliseconds;

constexpr std::string_view get = "GET / HTTP/1.0\r\n\r\n";

class ReplyEnds : public testing::ServerFixture {
 protected:
  /// A client on the loopback: elsewhere nothing but the end of the stream can be told.
  Fd connect_by_tcp() {
    const Fd listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* const any = reinterpret_cast<sockaddr*>(&address);
    Fd client(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (bind(listener.get(), any, size) != 0 || listen(listener.get(), 1) != 0 ||
        getsockname(listener.get(), any, &size) != 0 || ::connect(client.get(), any, size) != 0 ||
        !server->adopt(Fd(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC))))
      std::abort();
    return client;
  }
  /// How the stream ends for the client: ECONNRESET, or 0 for a clean end.
  int end_of(const Fd& client) {
    int error = -1;
    turn_until([&] {
      std::array<char, 65536> piece;
      ssize_t count = 0;
      while ((count = recv(client.get(), piece.data(), piece.size(), MSG_DONTWAIT)) > 0) {
      }
      if (count == 0) error = 0;
      if (count < 0 && errno != EAGAIN) error = errno;
      return error != -1;
    });
    return error;
  }
  static void begin_stream(Exchange& exchange, std::size_t size) {
    ASSERT_TRUE(exchange.start(200, "OK", {}));
    ASSERT_TRUE(exchange.write("first"));
    ASSERT_TRUE(exchange.write(std::string(size, 'x')));
  }
};

TEST_F(ReplyEnds, AreCleanWhereTheReplyIsWhole) {
  for (const std::size_t size : {std::size_t{10}, std::size_t{16} << 20}) {
    application.answer = [&](Exchange& exchange) {
      begin_stream(exchange, size);
      exchange.finish("end");
    };
    const Fd client = connect_by_tcp();
    send(client, get);
    EXPECT_EQ(end_of(client), 0) << size;
  }
}

TEST_F(ReplyEnds, AreAResetWhereTheApplicationFailed) {
  for (const std::size_t size : {std::size_t{10}, std::size_t{16} << 20}) {
    application.answer = [&](Exchange& exchange) {
      begin_stream(exchange, size);
      exchange.abort();
    };
    const Fd client = connect_by_tcp();
    send(client, get);
    turn();
    EXPECT_EQ(end_of(client), ECONNRESET) << size;
  }
}

TEST_F(ReplyEnds, AreCleanBehindThe504OfAHandler) {
  Exchange* held = nullptr;
  application.answer = [&](Exchange& exchange) { held = &exchange; };
  const Fd client = connect_by_tcp();
  send(client, get);
  ASSERT_TRUE(turn_until([&] { return held != nullptr; }));
  held->publish();
  ASSERT_TRUE(answer_published_call());
  ASSERT_TRUE(take_answered());
  held->give_up_answered();
  turn();
  // Not even once the reply is read: until then it could be lost by it.
  EXPECT_EQ(receive_all(client), timeout_reply(false));
  turn();
  int error = -1;
  socklen_t size = sizeof error;
  ASSERT_EQ(getsockopt(client.get(), SOL_SOCKET, SO_ERROR, &error, &size), 0);
  EXPECT_EQ(error, 0);
  EXPECT_FALSE(held->client_connected());
  held->abort();
}

TEST_F(ReplyEnds, AreAResetWhereTheClientTookTooLong) {
  auto limits = fast_limits();
  limits.write_stall = milliseconds(50);
  restart(limits);
  application.answer = [](Exchange& exchange) {
    begin_stream(exchange, 16 << 20);
    exchange.finish("end");
  };
  const Fd client = connect_by_tcp();
  send(client, get);
  EXPECT_TRUE(turn_until([&] { return observer.closed == 1; }));
  EXPECT_EQ(end_of(client), ECONNRESET);
}

TEST_F(ReplyEnds, AreAResetWhereTheReplyCanNotBeKept) {
  auto limits = fast_limits();
  limits.spool_directory = "/nowhere";
  restart(limits);
  application.answer = [](Exchange& exchange) {
    ASSERT_TRUE(exchange.start(200, "OK", {}));
    bool kept = true;
    for (int i = 0; i < 32 && kept; ++i)
      kept = exchange.write(std::string(1 << 20, 'x')).has_value();
    EXPECT_FALSE(kept);
    exchange.finish("end");
  };
  const Fd client = connect_by_tcp();
  send(client, get);
  turn();
  EXPECT_EQ(end_of(client), ECONNRESET);
}

TEST_F(ReplyEnds, AreAResetWhereTheProcessEnds) {
  application.answer = [](Exchange& exchange) { begin_stream(exchange, 10); };
  const Fd client = connect_by_tcp();
  send(client, get);
  turn();
  server.reset();  // closes its sockets, as the kernel does for it
  EXPECT_EQ(end_of(client), ECONNRESET);
}

}  // namespace
}  // namespace green::http
