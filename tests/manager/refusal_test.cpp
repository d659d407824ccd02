#include "daemon/manager/refusal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <string>
#include <thread>

namespace green::manager {
namespace {

using testing::EndsWith;
using testing::HasSubstr;

/// Connects at once, and sends `request` when the time has come.
std::string ask(const Listener& listener, std::string_view request,
                std::chrono::steady_clock::time_point when = {}) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  ::getsockname(listener.fd.get(), reinterpret_cast<sockaddr*>(&address), &size);
  const Fd client(::socket(address.ss_family, SOCK_STREAM, 0));
  if (::connect(client.get(), reinterpret_cast<sockaddr*>(&address), size) < 0) return "refused";
  std::this_thread::sleep_until(when);
  if (::send(client.get(), request.data(), request.size(), MSG_NOSIGNAL) < 0) return "cut";
  std::string reply;
  std::array<char, 4096> buffer;
  ssize_t received = 0;
  while ((received = ::recv(client.get(), buffer.data(), buffer.size(), 0)) > 0)
    reply.append(buffer.data(), static_cast<std::size_t>(received));
  return received < 0 ? "reset" : reply;
}

TEST(RefuseClients, AnswersEveryWaitingClientWith503AndRetryAfter) {
  const auto listeners = bind_sockets(std::vector<std::string>{"127.0.0.1:0"});
  ASSERT_TRUE(listeners);
  std::array<std::string, 8> replies;
  std::vector<std::jthread> clients;
  for (std::string& reply : replies)
    clients.emplace_back(
        [&] { reply = ask(listeners->front(), "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); });
  clients.emplace_back(
      [&] { EXPECT_THAT(ask(listeners->front(), "GET /slow"), HasSubstr("503")); });
  refuse_clients(*listeners, {.duration = std::chrono::milliseconds(1500), .text = "Not now."});
  clients.clear();
  for (const std::string& reply : replies) {
    EXPECT_THAT(reply, HasSubstr("HTTP/1.1 503 Service Unavailable\r\n"));
    EXPECT_THAT(reply, HasSubstr("Retry-After: 2\r\n"));
    EXPECT_THAT(
        reply,
        EndsWith("Content-Length: 9\r\nRetry-After: 2\r\nConnection: close\r\n\r\nNot now.\n"));
  }
}

TEST(RefuseClients, HearsThoseOutWhoCameJustBeforeTheEnd) {
  const std::string path = testing::TempDir() + "refusal." + std::to_string(::getpid());
  const auto listeners = bind_sockets(std::vector<std::string>{"unix:" + path});
  ASSERT_TRUE(listeners);
  constexpr auto duration = std::chrono::milliseconds(200);
  const auto late = std::chrono::steady_clock::now() + duration + std::chrono::milliseconds(100);
  std::string reply;
  std::jthread client(
      [&] { reply = ask(listeners->front(), "GET / HTTP/1.1\r\nHost: a\r\n\r\n", late); });
  refuse_clients(*listeners, {.duration = duration});
  client.join();
  EXPECT_THAT(reply, HasSubstr("HTTP/1.1 503 Service Unavailable\r\n"));
  ::unlink(path.c_str());
}

}  // namespace
}  // namespace green::manager
