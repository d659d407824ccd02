#include "daemon/http/server.h"

#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/un.h>

#include <atomic>
#include <fstream>
#include <thread>

#include "tests/http/resident_bytes.h"
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

/// As another worker that waits in front of us, is woken for a connection and does not take it.
class Sleeper {
 public:
  explicit Sleeper(int listener) : epoll_(epoll_create1(EPOLL_CLOEXEC)) {
    epoll_event event{};
    event.events = EPOLLIN | EPOLLEXCLUSIVE;
    if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, listener, &event) != 0) std::abort();
  }
  ~Sleeper() {
    if (thread_.joinable()) thread_.join();
  }
  void fall_asleep() {
    thread_ = std::thread([this] {
      thread_id_ = gettid();
      epoll_event event{};
      woken_ = epoll_wait(epoll_.get(), &event, 1, 10'000) == 1;
    });
    while (thread_id_ == 0 || !is_asleep()) std::this_thread::yield();
  }
  bool was_woken() {
    thread_.join();
    return woken_;
  }

 private:
  bool is_asleep() const {
    std::ifstream file("/proc/self/task/" + std::to_string(thread_id_.load()) + "/stat");
    std::string text;
    std::getline(file, text);
    const auto name_end = text.rfind(") ");
    return name_end != std::string::npos && text[name_end + 2] == 'S';
  }
  Fd epoll_;
  std::thread thread_;
  std::atomic<pid_t> thread_id_ = 0;
  bool woken_ = false;
};

TEST_F(Servers, TakeAConnectionForWhichNobodyWasWoken) {
  auto listener = make_listener();
  Sleeper other(listener.get());
  ASSERT_TRUE(server->add_listener(std::move(listener)));
  ASSERT_TRUE(server->start_accepting());
  turn();
  other.fall_asleep();
  const auto client = dial();
  EXPECT_TRUE(other.was_woken());
  pollfd ours{.fd = reactor->fd(), .events = POLLIN, .revents = 0};
  ASSERT_EQ(poll(&ours, 1, 0), 0) << "we were woken as well: this shows nothing";
  send(client, get);
  EXPECT_TRUE(receive_until(client, "\n").ends_with("GET /\n"));
}

TEST_F(Servers, AcceptNoMoreThanTheirConnectionsAndGoOnWhenOneCloses) {
  auto limits = fast_limits();
  limits.connections = 2;
  restart(limits);
  listen_and_accept();
  auto one = dial();
  const auto two = dial();
  EXPECT_TRUE(ask(one, get).ends_with("GET /\n"));
  EXPECT_TRUE(ask(two, get).ends_with("GET /\n"));
  const auto three = dial();
  send(three, get);
  turn(50);
  EXPECT_EQ(observer.opened, 2);
  EXPECT_EQ(take(three), "");
  EXPECT_TRUE(ask(one, get).ends_with("GET /\n")) << "those that are open are served";
  one.reset();
  EXPECT_TRUE(receive_until(three, "\n").ends_with("GET /\n"));
  EXPECT_EQ(server->connection_count(), 2U);
}

TEST_F(Servers, DoNotSpinWhileTheyAreFull) {
  auto limits = fast_limits();
  limits.connections = 1;
  limits.keepalive = std::chrono::minutes(1);
  restart(limits);
  listen_and_accept();
  const auto one = dial();
  EXPECT_TRUE(ask(one, get).ends_with("GET /\n"));
  const auto two = dial();
  reactor->set_turn_callback({}, milliseconds(50));
  int turns = 0;
  const auto end = std::chrono::steady_clock::now() + milliseconds(300);
  while (std::chrono::steady_clock::now() < end) {
    ASSERT_TRUE(reactor->turn(true));
    ++turns;
  }
  EXPECT_LT(turns, 20);
}

TEST_F(Servers, DrainWhileTheyAreFull) {
  auto limits = fast_limits();
  limits.connections = 1;
  restart(limits);
  listen_and_accept();
  auto one = dial();
  EXPECT_TRUE(ask(one, get).ends_with("GET /\n"));
  const auto two = dial();
  bool drained = false;
  server->drain([&] { drained = true; });
  one.reset();
  EXPECT_TRUE(turn_until([&] { return drained; }));
  EXPECT_EQ(observer.opened, 1) << "what waits is for others";
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

TEST_F(Servers, DrainClosesIdleConnectionsLateAndOneAfterTheOther) {
  auto limits = fast_limits();
  limits.drain_late = milliseconds(200);
  limits.drain_latest = milliseconds(600);
  limits.keepalive = std::chrono::minutes(10);
  restart(limits);
  std::vector<Fd> clients;
  for (int i = 0; i < 10; ++i) clients.push_back(connect());
  for (const Fd& client : clients) EXPECT_TRUE(ask(client, get).ends_with("GET /\n"));
  const auto begun = std::chrono::steady_clock::now();
  const auto elapsed = [&] { return std::chrono::steady_clock::now() - begun; };
  bool drained = false;
  server->drain([&] { drained = true; });
  EXPECT_TRUE(turn_until([&] { return server->connection_count() < 10; }));
  EXPECT_GE(elapsed(), milliseconds(200));
  EXPECT_GE(server->connection_count(), 8U);
  EXPECT_TRUE(turn_until([&] { return server->connection_count() < 5; }));
  EXPECT_GE(elapsed(), milliseconds(300));
  EXPECT_TRUE(turn_until([&] { return drained; }));
  for (const Fd& client : clients) EXPECT_EQ(receive_all(client), "");
}

TEST_F(Servers, DrainKeepsAnIdleConnectionAsLongAsItWasPromised) {
  auto limits = fast_limits();
  limits.keepalive = milliseconds(300);
  restart(limits);
  const auto client = connect();
  EXPECT_TRUE(ask(client, get).ends_with("GET /\n"));
  const auto begun = std::chrono::steady_clock::now();
  bool drained = false;
  server->drain([&] { drained = true; });
  EXPECT_TRUE(turn_until([&] { return drained; }));
  EXPECT_GE(std::chrono::steady_clock::now() - begun, milliseconds(250));
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(2));
}

TEST_F(Servers, DrainServesAConnectionThatHasNotSentYet) {
  const auto client = connect();
  turn();
  bool drained = false;
  server->drain([&] { drained = true; });
  turn();
  EXPECT_FALSE(drained);
  send(client, get);
  const auto reply = receive_all(client);
  EXPECT_TRUE(reply.ends_with("GET /\n"));
  EXPECT_NE(reply.find("Connection: close\r\n"), std::string::npos);
  EXPECT_TRUE(turn_until([&] { return drained; }));
}

TEST_F(Servers, DrainPromptlyClosesEveryIdleConnectionWithinASecondOrSo) {
  auto limits = fast_limits();
  limits.keepalive = std::chrono::minutes(10);
  limits.head_time = std::chrono::minutes(10);
  restart(limits);
  const auto used = connect();
  const auto unused = connect();
  EXPECT_TRUE(ask(used, get).ends_with("GET /\n"));
  const auto begun = std::chrono::steady_clock::now();
  bool drained = false;
  server->drain([&] { drained = true; });
  turn();
  server->hurry();
  EXPECT_TRUE(turn_until([&] { return drained; }));
  EXPECT_GE(std::chrono::steady_clock::now() - begun, milliseconds(400));
  EXPECT_LT(std::chrono::steady_clock::now() - begun, milliseconds(1900));
}

TEST_F(Servers, DrainPromptlyDoesNotWaitLongForAClientThatNeverCloses) {
  auto limits = fast_limits();
  limits.linger = std::chrono::minutes(10);
  restart(limits);
  const auto client = connect();
  send(client, get);
  bool drained = false;
  server->drain([&] { drained = true; }, DrainPace::prompt);
  const auto begun = std::chrono::steady_clock::now();
  EXPECT_TRUE(receive_until(client, "\n").ends_with("GET /\n"));
  EXPECT_TRUE(turn_until([&] { return drained; }));
  EXPECT_LT(std::chrono::steady_clock::now() - begun, milliseconds(1900));
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

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr std::size_t most_memory_of_an_idle_connection = 64 << 10;  // the sanitizer's own
#else
constexpr std::size_t most_memory_of_an_idle_connection = 4 << 10;
#endif

TEST_F(Servers, HoldThousandsOfIdleConnectionsInLittleMemory) {
  rlimit files{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &files), 0);
  files.rlim_cur = files.rlim_max;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &files), 0);
  const auto count = std::min<rlim_t>(10'000, (files.rlim_cur - 64) / 2);
  ASSERT_GE(count, 1000U);
  auto limits = fast_limits();
  limits.keepalive = limits.head_time = std::chrono::minutes(10);
  restart(limits);
  // What is made once is there before the measurement.
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(ask(connect(), get).ends_with("GET /\n"));
  application.requests = {};
  std::vector<Fd> clients;
  clients.reserve(count);
  const auto before = testing::resident_bytes();
  for (rlim_t i = 0; i < count; ++i) {
    clients.push_back(connect());
    EXPECT_TRUE(ask(clients.back(), get).ends_with("GET /\n"));
    application.requests.clear();
  }
  EXPECT_GE(server->connection_count(), count);
  const auto each = (testing::resident_bytes() - before) / count;
  RecordProperty("bytes_an_idle_connection", static_cast<int>(each));
  EXPECT_LE(each, most_memory_of_an_idle_connection);
  clients.clear();
  EXPECT_TRUE(turn_until([&] { return server->connection_count() == 0; }));
}

TEST_F(Servers, WithMoreConnectionsThanOthersLeavesNewOnesToThem) {
  testing::CountingObserver others_observer;
  auto others = Server::create(*reactor, application, others_observer, fast_limits());
  Fd listener = make_listener();
  ASSERT_TRUE(others->add_listener(Fd(dup(listener.get()))));
  ASSERT_TRUE(server->add_listener(std::move(listener)));
  ASSERT_TRUE(server->start_accepting());
  observer.share_now = Share::large;
  const auto first = dial();
  ASSERT_TRUE(turn_until([&] { return observer.opened == 1; }));
  ASSERT_TRUE(others->start_accepting());
  const auto second = dial();
  ASSERT_TRUE(turn_until([&] { return others_observer.opened == 1; }));
  EXPECT_EQ(observer.opened, 1);
}

TEST_F(Servers, WithMoreConnectionsThanOthersStillTakesWhatNobodyElseDoes) {
  listen_and_accept();
  observer.share_now = Share::large;
  const auto first = dial();
  const auto second = dial();
  const auto third = dial();
  EXPECT_TRUE(turn_until([&] { return observer.opened == 3; }, milliseconds(2000)));
}

TEST_F(Servers, StopAcceptingWhileTheyRest) {
  listen_and_accept();
  observer.share_now = Share::large;
  const auto first = dial();
  ASSERT_TRUE(turn_until([&] { return observer.opened == 1; }));
  server->stop_accepting();
  const auto end = std::chrono::steady_clock::now() + milliseconds(20);
  EXPECT_FALSE(turn_until([&] { return observer.opened == 2; }, milliseconds(20)));
  EXPECT_GE(std::chrono::steady_clock::now(), end);
}

}  // namespace
}  // namespace green::http
