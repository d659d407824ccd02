#include "daemon/manager/refusal.h"

#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <string>
#include <string_view>

#include "common/log.h"
#include "common/scoreboard.h"

namespace green::manager {
namespace {

constexpr std::uint64_t second_usec = 1'000'000;

std::string reply_to_all(const Refusal& refusal, std::chrono::seconds left) {
  return fmt::format(
      "HTTP/1.1 503 Service Unavailable\r\n"
      "Content-Type: text/plain; charset=utf-8\r\n"
      "Content-Length: {}\r\n"
      "Retry-After: {}\r\n"
      "Connection: close\r\n"
      "\r\n"
      "{}\n",
      refusal.text.size() + 1, std::max(refusal.retry_after, left).count(), refusal.text);
}

/// More at a time wait in the sockets' own queues.
constexpr std::size_t connections_at_once = 512;
/// A client that has not sent its request's head by then gets the reply all the same.
constexpr std::uint64_t head_limit_usec = 500'000;

struct Client {
  Fd fd;
  std::uint64_t accepted_usec;
  std::string last_bytes{};  ///< enough to see the empty line that ends a head
  bool answered = false;     ///< then read to the end, so that no reset overtakes the reply
};

void answer(Client& client, std::string_view reply) {
  ::send(client.fd.get(), reply.data(), reply.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  ::shutdown(client.fd.get(), SHUT_WR);
  client.answered = true;
}

/// False once the connection is done with.
bool read_some(Client& client, std::string_view reply) {
  std::array<char, 16384> buffer;
  const ssize_t size = ::recv(client.fd.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
  if (size < 0) return errno == EAGAIN || errno == EINTR;
  if (size == 0) {
    if (!client.answered) answer(client, reply);
    return false;
  }
  if (client.answered) return true;
  client.last_bytes.append(buffer.data(), static_cast<std::size_t>(size));
  const bool complete = client.last_bytes.find("\r\n\r\n") != std::string::npos;
  if (client.last_bytes.size() > 3) client.last_bytes.erase(0, client.last_bytes.size() - 3);
  if (complete) answer(client, reply);
  return true;
}

Fd watch_for_stop() {
  sigset_t stops;
  ::sigemptyset(&stops);
  for (const int number : {SIGTERM, SIGINT, SIGQUIT}) ::sigaddset(&stops, number);
  ::sigprocmask(SIG_BLOCK, &stops, nullptr);
  return Fd(::signalfd(-1, &stops, SFD_CLOEXEC | SFD_NONBLOCK));
}

}  // namespace

RefusalEnd refuse_clients(const std::vector<Listener>& listeners, const Refusal& refusal) {
  const Fd stop = watch_for_stop();
  RefusalEnd how = RefusalEnd::time_is_up;
  std::string reply;
  std::uint64_t next_second = 0;
  std::vector<Client> clients;
  std::uint64_t refused = 0;
  const std::uint64_t end =
      monotonic_usec() + static_cast<std::uint64_t>(refusal.duration.count()) * 1000;
  // Who was accepted just before the end is heard out: each within its own limit.
  for (std::uint64_t now = monotonic_usec(); now < end || !clients.empty();
       now = monotonic_usec()) {
    if (now >= next_second) {
      const std::chrono::seconds left((now < end ? end - now + second_usec - 1 : 0) / second_usec);
      next_second = now + second_usec;
      reply = reply_to_all(refusal, left);
      if (refusal.each_second && now < end) refusal.each_second(left);
    }
    std::vector<pollfd> polled;
    polled.push_back({.fd = stop.get(), .events = POLLIN, .revents = 0});
    const bool room = now < end && clients.size() < connections_at_once;
    for (const Listener& listener : listeners)
      polled.push_back({.fd = room ? listener.fd.get() : -1, .events = POLLIN, .revents = 0});
    for (const Client& client : clients)
      polled.push_back({.fd = client.fd.get(), .events = POLLIN, .revents = 0});
    const std::uint64_t left = now < end ? end - now : head_limit_usec;
    const auto wait = static_cast<int>(std::min<std::uint64_t>(left / 1000 + 1, 100));
    if (::poll(polled.data(), polled.size(), wait) < 0 && errno != EINTR) {
      log_error("{}", Error::from_errno("poll").message());
      return how;
    }
    if (polled[0].revents != 0) {
      how = RefusalEnd::stopped;
      break;
    }
    now = monotonic_usec();
    const std::size_t first_client = 1 + listeners.size();
    for (std::size_t i = clients.size(); i-- > 0;) {
      Client& client = clients[i];
      bool open = polled[first_client + i].revents == 0 || read_some(client, reply);
      if (open && !client.answered && now > client.accepted_usec + head_limit_usec)
        answer(client, reply);
      if (client.answered && now > client.accepted_usec + 2 * head_limit_usec) open = false;
      if (!open) clients.erase(clients.begin() + static_cast<std::ptrdiff_t>(i));
    }
    for (std::size_t i = 0; i < listeners.size(); ++i) {
      if (polled[1 + i].revents == 0) continue;
      while (clients.size() < connections_at_once) {
        Fd fd(::accept4(listeners[i].fd.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
        if (!fd) break;
        clients.push_back({.fd = std::move(fd), .accepted_usec = now});
        ++refused;
      }
    }
  }
  for (Client& client : clients)
    if (!client.answered) answer(client, reply);
  if (refused > 0) log_notice("answered 503 to {} connections", refused);
  return how;
}

}  // namespace green::manager
