// A real server on a real reactor, with clients on socket pairs or the loopback. One thread: a
// client's wait turns the loop.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "common/fd.h"
#include "daemon/http/server.h"
#include "tests/http/fake_application.h"

namespace green::http::testing {

struct CountingObserver final : ServerObserver {
  bool allowed = true;
  int opened = 0, closed = 0, calls = 0, in_calls = 0, done = 0;
  bool may_accept() override { return allowed; }
  Share share_now = Share::alone;
  Share share() override { return share_now; }
  void connection_opened() override { ++opened; }
  void connection_closed() override { ++closed; }
  void call_begins(std::uint64_t, const Request&) override { ++calls, ++in_calls; }
  void call_ended() override { --in_calls; }
  void request_done() override { ++done; }
};

class ServerFixture : public ::testing::Test {
 protected:
  explicit ServerFixture(Limits limits = fast_limits())
      : reactor(std::move(*Reactor::create())),
        server(Server::create(*reactor, application, observer, std::move(limits))) {}

  static Limits fast_limits() {
    Limits limits;
    limits.spool_directory = "/tmp";
    return limits;
  }
  void restart(Limits limits) {
    server = Server::create(*reactor, application, observer, std::move(limits));
  }

  /// A client's end; the other is adopted by the server.
  Fd connect() {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) std::abort();
    Fd client(ends[0]);
    if (!server->adopt(Fd(ends[1]))) std::abort();
    return client;
  }

  /// Turns the loop until `condition` or the time is over.
  bool turn_until(const std::function<bool()>& condition,
                  std::chrono::milliseconds limit = std::chrono::seconds(10)) {
    const auto end = std::chrono::steady_clock::now() + limit;
    while (!condition()) {
      if (std::chrono::steady_clock::now() > end) return false;
      reactor->set_turn_callback({}, std::chrono::milliseconds(5));
      if (!reactor->turn(true)) return condition();
    }
    return true;
  }
  void turn(int times = 8) {
    for (int i = 0; i < times; ++i) ASSERT_TRUE(reactor->turn(false));
  }

  void send(const Fd& client, std::string_view data) {
    while (!data.empty()) {
      const auto count =
          ::send(client.get(), data.data(), data.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (count < 0) {
        ASSERT_TRUE(errno == EAGAIN) << errno;
        ASSERT_TRUE(reactor->turn(false));
        continue;
      }
      data.remove_prefix(static_cast<std::size_t>(count));
    }
  }

  /// What is there now; sets `ended` at the end of the stream.
  std::string take(const Fd& client, bool* ended = nullptr) {
    std::string text;
    std::array<char, 65536> piece;
    for (;;) {
      const auto count = recv(client.get(), piece.data(), piece.size(), MSG_DONTWAIT);
      if (count > 0) {
        text.append(piece.data(), static_cast<std::size_t>(count));
        continue;
      }
      if (ended != nullptr) *ended = count == 0 || (errno != EAGAIN && errno != EWOULDBLOCK);
      return text;
    }
  }

  /// Until the text ends in `tail`.
  std::string receive_until(const Fd& client, std::string_view tail) {
    std::string text;
    turn_until([&] {
      text += take(client);
      return text.ends_with(tail);
    });
    return text;
  }
  std::string receive_all(const Fd& client,
                          std::chrono::milliseconds limit = std::chrono::seconds(10)) {
    std::string text;
    const bool ended = turn_until(
        [&] {
          bool over = false;
          text += take(client, &over);
          return over;
        },
        limit);
    EXPECT_TRUE(ended) << "the server did not close; so far: " << text;
    return text;
  }
  std::string ask(const Fd& client, std::string_view request) {
    send(client, request);
    return receive_until(client, "\n");
  }

  FakeApplication application;
  CountingObserver observer;
  std::unique_ptr<Reactor> reactor;
  std::unique_ptr<Server> server;
};

/// Without the Date line.
inline std::string without_date(std::string reply) {
  for (;;) {
    const auto begin = reply.find("Date: ");
    if (begin == std::string::npos) return reply;
    reply.erase(begin, reply.find("\r\n", begin) + 2 - begin);
  }
}

}  // namespace green::http::testing
