// Streamed bodies under clients and applications of every kind, by chance: a connection ends, each
// call is counted once, and no byte of a body is ever taken for a request. The bodies are requests
// that nobody made; a failure names its seed.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "tests/http/server_fixture.h"

namespace green::http::testing {
namespace {

constexpr std::string_view forged = "GET /forged HTTP/1.1\r\nHost: a\r\n\r\n";

/// Plays the letters of the request's path, some a turn.
class PlayingApplication final : public Application, ExchangeWatcher {
 public:
  struct Play {
    Exchange* exchange;
    std::string script;
    std::size_t next = 0;
    std::string taken{};
    bool is_done = false;
  };

  bool streams_bodies() const override { return true; }
  void call(Exchange& exchange) override {
    exchange.watch(this);
    plays.push_back({.exchange = &exchange, .script = std::string(exchange.request().path)});
    go_on(plays.back());
  }
  void go_on() {
    for (Play& play : plays) go_on(play);
  }

  std::vector<Play> plays;

 private:
  void exchange_changed() override {}
  static void take(Play& play) {
    Body& body = *play.exchange->request().body;
    std::string part(body.waiting(), '\0');
    EXPECT_EQ(body.take(part), part.size());
    play.taken += part;
    play.exchange->want_body();
  }
  static void end(Play& play) {
    play.is_done = true;
    play.exchange->watch(nullptr);
    if (!play.exchange->head_sent()) (void)play.exchange->start(200, "OK", {});
    play.exchange->finish("end");
  }
  void go_on(Play& play) {
    while (!play.is_done) {
      if (play.next == play.script.size()) return end(play);
      Exchange& exchange = *play.exchange;
      switch (play.script[play.next++]) {
        case 'l':  // later
          return;
        case 'r':  // a part
          take(play);
          return;
        case 'R':  // all of it
          take(play);
          if (exchange.client_connected() && !exchange.body_is_whole()) --play.next;
          return;
        case 's':
          (void)exchange.start(200, "OK", {});
          break;
        case 'w':
          (void)exchange.write(long_part_);
          break;
        case 'g':
          exchange.give_up();
          break;
        case 'a':
          play.is_done = true;
          exchange.watch(nullptr);
          return exchange.abort();
        default:
          break;
      }
    }
  }

  const std::string long_part_ = std::string(100'000, 'L');
};

class RandomBodies : public ::testing::TestWithParam<unsigned> {
 protected:
  unsigned below(std::size_t limit) { return static_cast<unsigned>(random_() % limit); }
  bool one_in(unsigned count) { return below(count) == 0; }

  void add_request() {
    std::string path = "/";
    for (unsigned i = below(7); i > 0; --i) path += std::string_view("lrRRrswlga")[below(10)];
    std::string body;
    const std::size_t length = one_in(3) ? 0 : below(is_large_ ? 300'000 : 400);
    while (body.size() < length) body += forged;
    body.resize(length);
    input_ += "POST " + path + " HTTP/1.1\r\nHost: a\r\n";
    if (one_in(6)) input_ += "Expect: 100-continue\r\n";
    if (one_in(2)) {
      input_ += "Content-Length: " + std::to_string(length) + "\r\n\r\n" + body;
    } else {
      input_ += "Transfer-Encoding: chunked\r\n\r\n";
      for (std::size_t at = 0; at < length;) {
        const std::size_t size =
            std::min<std::size_t>(length - at, 1 + below(is_large_ ? 70'000 : 90));
        input_ += fmt::format("{:x}\r\n{}\r\n", size, body.substr(at, size));
        at += size;
      }
      input_ += "0\r\n\r\n";
    }
    paths_.push_back(std::move(path));
    bodies_.push_back(std::move(body));
  }
  void spoil_input() {
    const std::size_t at = below(input_.size());
    if (one_in(2)) return input_.resize(at);
    if (const auto end = input_.find('\n', at); end != std::string::npos)
      input_.insert(end + 1, "zz\r\n");
  }

  Limits limits() {
    Limits limits;
    limits.spool_directory = "/tmp";
    if (one_in(5)) limits.body_bytes = 200;
    if (one_in(6))
      limits.body_idle = limits.linger = limits.write_stall =
          std::chrono::microseconds(1 + below(2000));
    return limits;
  }

  std::mt19937 random_{GetParam()};
  const bool is_large_ = one_in(8);
  std::string input_;
  std::vector<std::string> paths_;
  std::vector<std::string> bodies_;
};

TEST_P(RandomBodies, NeverBecomeRequests) {
  for (unsigned count = 1 + below(4); count > 0; --count) add_request();
  const bool is_spoilt = one_in(4);
  if (is_spoilt) spoil_input();
  PlayingApplication application;
  CountingObserver observer;
  const auto reactor = std::move(*Reactor::create());
  const auto server = Server::create(*reactor, application, observer, limits());
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
  Fd client(ends[0]);
  ASSERT_TRUE(server->adopt(Fd(ends[1])));
  const auto turn = [&] {
    ASSERT_TRUE(reactor->turn(false));
    application.go_on();
    std::array<char, 65536> piece;
    while (client && recv(client.get(), piece.data(), piece.size(), 0) > 0) continue;
  };

  const std::size_t piece = 1 + below(is_large_ ? 65536 : 2000);
  const bool meets_drain = one_in(6);
  for (std::size_t at = 0, in_vain = 0; at < input_.size() && in_vain < 400;) {
    const auto sent =
        ::send(client.get(), input_.data() + at, std::min(piece, input_.size() - at), MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) break;
    in_vain = sent > 0 ? 0 : in_vain + 1;
    if (sent > 0) at += static_cast<std::size_t>(sent);
    turn();
    if (meets_drain && !server->draining()) server->drain([] {});
  }
  if (one_in(6))
    client.reset();
  else
    shutdown(client.get(), SHUT_WR);
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (server->connection_count() > 0 && std::chrono::steady_clock::now() < end) turn();

  EXPECT_EQ(server->connection_count(), 0U) << "nothing ends the connection";
  EXPECT_EQ(observer.done, observer.calls);
  for (std::size_t i = 0; i < application.plays.size(); ++i) {
    const auto& play = application.plays[i];
    EXPECT_NE(play.script, "/forged");
    if (is_spoilt) continue;
    ASSERT_LT(i, paths_.size());
    EXPECT_EQ(play.script, paths_[i]);
    EXPECT_TRUE(bodies_[i].starts_with(play.taken));
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomBodies, ::testing::Range(0U, 400U));

}  // namespace
}  // namespace green::http::testing
