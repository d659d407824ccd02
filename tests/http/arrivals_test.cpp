#include "daemon/http/arrivals.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>

#include <vector>

#include "tests/http/server_fixture.h"

namespace green::http {
namespace {

constexpr std::string_view get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

std::string post(std::size_t size) {
  return "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: " + std::to_string(size) + "\r\n\r\n" +
         std::string(size, 'x');
}

/// What the other end of a unix socket has not read yet, with what the kernel adds for itself.
int unread(const Fd& client) {
  int bytes = -1;
  EXPECT_EQ(::ioctl(client.get(), SIOCOUTQ, &bytes), 0);
  return bytes;
}

/// Requests of several clients that are there in one turn; replies say how long the body was.
class Arrival : public testing::ServerFixture {
 protected:
  void connect_all(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) clients.push_back(connect());
    application.answer = [this](Exchange& exchange) {
      if (during) during(calls);
      ++calls;
      ASSERT_TRUE(exchange.start(200, "OK", {}));
      exchange.finish(std::to_string(exchange.request().body->size()) + "\n");
    };
  }

  std::vector<Fd> clients;
  std::function<void(std::size_t call)> during;
  std::size_t calls = 0;
};

TEST_F(Arrival, IsReadBeforeTheFirstOfATurnIsAnswered) {
  connect_all(5);
  std::vector<int> left;
  during = [&](std::size_t call) {
    if (call != 0) return;
    for (const Fd& client : clients) left.push_back(unread(client));
  };
  for (const Fd& client : clients) send(client, get);
  turn(1);
  EXPECT_EQ(calls, 5U);
  EXPECT_EQ(left, std::vector<int>(5, 0));
  for (const Fd& client : clients) EXPECT_TRUE(take(client).ends_with("0\n"));
}

TEST_F(Arrival, IsWholeWhateverItsSize) {
  connect_all(12);
  // Small, about as much as is read of one at once, and more than there is room for in all.
  std::vector<std::size_t> sizes;
  for (std::size_t i = 0; i < clients.size(); ++i) sizes.push_back(i * 1009);
  for (std::size_t i = 0; i < clients.size(); ++i) send(clients[i], post(sizes[i]));
  for (std::size_t i = 0; i < clients.size(); ++i)
    EXPECT_TRUE(receive_until(clients[i], "\n").ends_with(std::to_string(sizes[i]) + "\n"));
  for (std::size_t i = 0; i < clients.size(); ++i) send(clients[i], post(sizes[11 - i]));
  for (std::size_t i = 0; i < clients.size(); ++i)
    EXPECT_TRUE(receive_until(clients[i], "\n").ends_with(std::to_string(sizes[11 - i]) + "\n"));
}

TEST_F(Arrival, OfSeveralRequestsAtOnceIsAnsweredInOrder) {
  connect_all(3);
  for (const Fd& client : clients) send(client, post(1) + post(22) + post(333));
  turn();
  for (const Fd& client : clients) {
    const auto replies = take(client);
    const auto first = replies.find("\r\n\r\n1\n");
    const auto second = replies.find("\r\n\r\n22\n");
    const auto third = replies.find("\r\n\r\n333\n");
    EXPECT_LT(first, second);
    EXPECT_LT(second, third);
    EXPECT_NE(third, std::string::npos) << replies;
  }
}

TEST_F(Arrival, OfAPartIsKeptForTheRest) {
  connect_all(3);
  for (const Fd& client : clients) send(client, get.substr(0, 20));
  turn();
  EXPECT_EQ(calls, 0U);
  for (const Fd& client : clients) send(client, get.substr(20));
  for (const Fd& client : clients) EXPECT_TRUE(receive_until(client, "\n").ends_with("0\n"));
}

TEST_F(Arrival, IsAnsweredThoughItsClientSendsNoMore) {
  connect_all(3);
  for (const Fd& client : clients) {
    send(client, get);
    ASSERT_EQ(::shutdown(client.get(), SHUT_WR), 0);
  }
  for (const Fd& client : clients) EXPECT_TRUE(receive_all(client).ends_with("0\n"));
}

TEST_F(Arrival, IsAnsweredWhereTheServerBeginsToDrainMeanwhile) {
  connect_all(4);
  bool drained = false;
  during = [&](std::size_t call) {
    if (call == 0) server->drain([&] { drained = true; }, DrainPace::prompt);
  };
  for (const Fd& client : clients) send(client, get);
  for (const Fd& client : clients) {
    const auto reply = receive_all(client);
    EXPECT_TRUE(reply.ends_with("0\n")) << reply;
    EXPECT_NE(reply.find("Connection: close"), std::string::npos);
  }
  EXPECT_TRUE(turn_until([&] { return drained; }));
}

TEST_F(Arrival, OfClientsThatLeaveEndsTheirConnections) {
  connect_all(4);
  for (const Fd& client : clients) send(client, get);
  clients.clear();
  EXPECT_TRUE(turn_until([this] { return server->connection_count() == 0; }));
}

}  // namespace
}  // namespace green::http
