#include "daemon/http/server.h"

#include <sys/resource.h>
#include <sys/un.h>

#include "tests/http/server_fixture.h"

namespace green::http {
namespace {

using std::chrono::milliseconds;

constexpr std::string_view get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

class Servers : public testing::ServerFixture {
 protected:
  Fd make_listener() {
    Fd listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    if (bind(listener.get(), reinterpret_cast<sockaddr*>(&address), length) != 0 ||
        listen(listener.get(), 64) != 0 ||
        getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &length) != 0) {
      std::abort();
    }
    address_ = address;
    return listener;
  }
  Fd dial() {
    Fd client(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (::connect(client.get(), reinterpret_cast<sockaddr*>(&address_), sizeof address_) != 0) {
      return Fd();
    }
    return client;
  }
  void listen_and_accept() {
    ASSERT_TRUE(server->add_listener(make_listener()));
    ASSERT_TRUE(server->start_accepting());
  }
  sockaddr_in address_{};
};

TEST_F(Servers, AcceptConnectionsAndSayWhereTheyComeFrom) {
  listen_and_accept();
  Endpoints endpoints;
  application.answer = [&](Exchange& exchange) {
    endpoints = *exchange.request().endpoints;
    exchange.abort();
  };
  const auto client = dial();
  EXPECT_TRUE(ask(client, get).starts_with("HTTP/1.1 500 "));
  EXPECT_EQ(endpoints.remote_address, "127.0.0.1");
  EXPECT_NE(endpoints.remote_port, "");
  EXPECT_EQ(endpoints.local_address, "127.0.0.1");
  EXPECT_EQ(endpoints.local_port, std::to_string(ntohs(address_.sin_port)));
}

TEST_F(Servers, AcceptNothingBeforeTheyAreTold) {
  ASSERT_TRUE(server->add_listener(make_listener()));
  const auto client = dial();
  turn();
  EXPECT_EQ(observer.opened, 0);
  ASSERT_TRUE(server->start_accepting());
  EXPECT_TRUE(ask(client, get).ends_with("GET /\n"));
}

TEST_F(Servers, LeaveAConnectionToOthersWhenTheyMayNotAccept) {
  listen_and_accept();
  observer.allowed = false;
  const auto client = dial();
  send(client, get);
  turn(20);
  EXPECT_EQ(observer.opened, 0);
  observer.allowed = true;
  EXPECT_TRUE(receive_until(client, "\n").ends_with("GET /\n")) << "and take it once they may";
}

TEST_F(Servers, TakeAConnectionForWhichNobodyWasWoken) {
  listen_and_accept();
  // As if another process had used up the wake-up: the edge is not ours to see.
  turn();
  const auto client = dial();
  send(client, get);
  EXPECT_TRUE(receive_until(client, "\n").ends_with("GET /\n"));
}

TEST_F(Servers, StopAcceptingButServeWhatWasAlreadyWaiting) {
  listen_and_accept();
  const auto client = dial();
  server->stop_accepting();
  EXPECT_EQ(observer.opened, 1);
  EXPECT_TRUE(ask(client, get).ends_with("GET /\n"));
  EXPECT_FALSE(dial()) << "the listener of this process is closed";
}

TEST_F(Servers, DrainAtOnceWithNothingOpen) {
  listen_and_accept();
  int drained = 0;
  server->drain([&] { ++drained; });
  EXPECT_EQ(drained, 0) << "told from within drain()";
  turn();
  EXPECT_EQ(drained, 1);
}

TEST_F(Servers, DrainFinishesARequestInFlight) {
  Exchange* kept = nullptr;
  application.answer = [&](Exchange& exchange) { kept = &exchange; };
  const auto client = connect();
  send(client, get);
  turn();
  bool drained = false;
  server->drain([&] { drained = true; });
  turn();
  EXPECT_FALSE(drained);
  ASSERT_TRUE(kept->start(200, "OK", {}));
  kept->finish("done\n");
  const auto reply = receive_all(client);
  EXPECT_NE(reply.find("Connection: close\r\n"), std::string::npos);
  EXPECT_TRUE(turn_until([&] { return drained; }));
}

TEST_F(Servers, DrainAnswersTheNextRequestOfAKeptConnectionAndClosesIt) {
  const auto client = connect();
  EXPECT_TRUE(ask(client, get).ends_with("GET /\n"));
  bool drained = false;
  server->drain([&] { drained = true; });
  turn();
  EXPECT_FALSE(drained) << "idle connections are closed late";
  send(client, get);
  const auto reply = receive_all(client);
  EXPECT_TRUE(reply.ends_with("GET /\n"));
  EXPECT_NE(reply.find("Connection: close\r\n"), std::string::npos);
  EXPECT_TRUE(turn_until([&] { return drained; }));
}

TEST_F(Servers, DrainClosesIdleConnectionsAfterAWhile) {
  auto limits = fast_limits();
  limits.drain_idle = milliseconds(50);
  limits.keepalive = std::chrono::minutes(10);
  restart(limits);
  const auto client = connect();
  EXPECT_TRUE(ask(client, get).ends_with("GET /\n"));
  bool drained = false;
  server->drain([&] { drained = true; });
  EXPECT_TRUE(turn_until([&] { return drained; }));
  EXPECT_EQ(receive_all(client), "");
}

TEST_F(Servers, WaitWithoutSpinningWhileThereAreNoDescriptors) {
  listen_and_accept();
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const auto client = dial();
  ASSERT_TRUE(client);
  send(client, get);
  const rlimit none{.rlim_cur = 3, .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  int turns = 0;
  const auto end = std::chrono::steady_clock::now() + milliseconds(200);
  reactor->set_turn_callback({}, milliseconds(5));
  while (std::chrono::steady_clock::now() < end) {
    EXPECT_TRUE(reactor->turn(true));
    ++turns;
  }
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_EQ(observer.opened, 0);
  EXPECT_LT(turns, 200);
  EXPECT_TRUE(receive_until(client, "\n").ends_with("GET /\n"));
}

TEST_F(Servers, EndTheLoopWithAnErrorWhenTheirListenerIsClosedBehindTheirBack) {
  auto listener = make_listener();
  const int number = listener.get();
  const Fd other_reference(dup(number));  // as systemd's: the socket lives on
  ASSERT_TRUE(server->add_listener(std::move(listener)));
  ASSERT_TRUE(server->start_accepting());
  ::close(number);
  const auto client = dial();
  const auto result = reactor->run();
  ASSERT_FALSE(result);
  EXPECT_NE(result.error().message().find("listening descriptor"), std::string::npos);
}

TEST_F(Servers, ServeOnAUnixSocketWithoutARemoteAddress) {
  const std::string path = ::testing::TempDir() + "green-server-test.sock";
  ::unlink(path.c_str());
  Fd listener(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  ASSERT_LT(path.size(), sizeof address.sun_path);
  path.copy(address.sun_path, path.size());
  ASSERT_EQ(bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(listen(listener.get(), 8), 0);
  ASSERT_TRUE(server->add_listener(std::move(listener)));
  ASSERT_TRUE(server->start_accepting());
  Endpoints endpoints{
      .remote_address = "x", .remote_port = "x", .local_address = {}, .local_port = {}};
  application.answer = [&](Exchange& exchange) {
    endpoints = *exchange.request().endpoints;
    exchange.abort();
  };
  Fd client(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(::connect(client.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ask(client, get);
  EXPECT_EQ(endpoints.remote_address, "");
  EXPECT_EQ(endpoints.local_address, path);
  ::unlink(path.c_str());
}

TEST_F(Servers, HoldThousandsOfIdleConnections) {
  rlimit files{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &files), 0);
  const auto count = std::min<rlim_t>(1000, (files.rlim_cur - 64) / 2);
  std::vector<Fd> clients;
  for (rlim_t i = 0; i < count; ++i) clients.push_back(connect());
  for (const auto& client : clients) EXPECT_TRUE(ask(client, get).ends_with("GET /\n"));
  EXPECT_EQ(server->connection_count(), count);
  clients.clear();
  EXPECT_TRUE(turn_until([&] { return server->connection_count() == 0; }));
}

}  // namespace
}  // namespace green::http
