// The WebSockets of bench/websockets: each sends a message of SIZE bytes, waits for its echo, and
// sends it again. One thread, epoll; not a part of green. On 127.0.0.1 alone.
//   green_bench_websocket_load PORT CONNECTIONS SIZE MILLISECONDS
//     prints how many echoes came in which time, and the median and the 99th percentile of their
//     latencies
//   green_bench_websocket_load PORT CONNECTIONS SIZE idle
//     one echo each, then prints a line and keeps them open until standard input ends
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::array<char, 4> mask{'\x37', '\x5a', '\x21', '\x4d'};
constexpr unsigned char ping = 0x89;
constexpr unsigned char text = 0x81;

[[noreturn]] void give_up(std::string_view what) {
  std::fprintf(stderr, "websocket_load: %.*s: %s\n", static_cast<int>(what.size()), what.data(),
               std::strerror(errno));
  std::exit(1);
}

[[noreturn]] void refuse(std::string_view what) {
  std::fprintf(stderr, "websocket_load: %.*s\n", static_cast<int>(what.size()), what.data());
  std::exit(1);
}

/// A client's frame (RFC 6455, 5.2).
std::string frame(unsigned char first, std::string_view payload) {
  std::string made(1, static_cast<char>(first));
  if (payload.size() < 126) {
    made += static_cast<char>(0x80 | payload.size());
  } else {
    made += static_cast<char>(0x80 | 126);
    made += static_cast<char>(payload.size() >> 8);
    made += static_cast<char>(payload.size() & 0xff);
  }
  made.append(mask.data(), mask.size());
  for (std::size_t i = 0; i < payload.size(); ++i) {
    made += static_cast<char>(payload[i] ^ mask[i % mask.size()]);
  }
  return made;
}

struct Connection {
  int socket = -1;
  std::string received;
  Clock::time_point sent;
};

class Load {
 public:
  Load(std::uint16_t port, std::size_t count, std::size_t size)
      : payload_(size, 'x'), message_(frame(text, payload_)), connections_(count) {
    epoll_ = ::epoll_create1(EPOLL_CLOEXEC);
    if (epoll_ < 0) give_up("epoll_create1");
    for (Connection& one : connections_) open(one, port);
  }

  /// Echoes are counted until `ends`; those on their way then are waited for, uncounted.
  void run(Clock::time_point ends, bool once) {
    begun_ = Clock::now();
    for (Connection& one : connections_) send_message(one);
    std::size_t outstanding = connections_.size();
    std::array<epoll_event, 256> events{};
    while (outstanding > 0) {
      const int ready = ::epoll_wait(epoll_, events.data(), events.size(), 10'000);
      if (ready < 0 && errno != EINTR) give_up("epoll_wait");
      if (ready == 0) refuse("no echo within 10 s");
      for (int i = 0; i < ready; ++i) {
        Connection& one = connections_[events[static_cast<std::size_t>(i)].data.u32];
        if (!has_echo(one)) continue;
        const Clock::time_point now = Clock::now();
        if (once || now >= ends) {
          --outstanding;
          if (once) ++echoes_;
          continue;
        }
        ++echoes_;
        ended_ = now;
        latencies_.push_back(static_cast<std::uint32_t>(
            std::chrono::duration_cast<std::chrono::microseconds>(now - one.sent).count()));
        send_message(one);
      }
    }
  }

  void print() {
    std::sort(latencies_.begin(), latencies_.end());
    const auto at = [&](double part) {
      return latencies_.empty() ? 0U
                                : latencies_[static_cast<std::size_t>(
                                      part * static_cast<double>(latencies_.size() - 1))];
    };
    std::printf("{\"messages\": %llu, \"seconds\": %.6f, \"p50\": %u, \"p99\": %u}\n",
                static_cast<unsigned long long>(echoes_),
                std::chrono::duration<double>(ended_ - begun_).count(), at(0.5), at(0.99));
  }

 private:
  void open(Connection& one, std::uint16_t port) {
    one.socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (one.socket < 0) give_up("socket");
    sockaddr_in where{};
    where.sin_family = AF_INET;
    where.sin_port = htons(port);
    where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): the sockets' own interface
    if (::connect(one.socket, reinterpret_cast<const sockaddr*>(&where), sizeof where) != 0)
      give_up("connect");
    const int on = 1;
    if (::setsockopt(one.socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0)
      give_up("TCP_NODELAY");
    write_all(one,
              "GET / HTTP/1.1\r\nHost: bench.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
              "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n");
    std::size_t end = std::string::npos;
    while (end == std::string::npos) {
      if (!read_some(one)) give_up("handshake");
      end = one.received.find("\r\n\r\n");
    }
    if (!one.received.starts_with("HTTP/1.1 101 "))
      refuse("the handshake was refused: " + one.received);
    one.received.erase(0, end + 4);
    if (::fcntl(one.socket, F_SETFL, O_NONBLOCK) != 0) give_up("fcntl");
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u32 = static_cast<std::uint32_t>(&one - connections_.data());
    if (::epoll_ctl(epoll_, EPOLL_CTL_ADD, one.socket, &event) != 0) give_up("epoll_ctl");
  }

  static void write_all(const Connection& one, std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(one.socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent >= 0) {
        bytes.remove_prefix(static_cast<std::size_t>(sent));
      } else if (errno == EAGAIN) {
        pollfd waits{.fd = one.socket, .events = POLLOUT, .revents = 0};
        if (::poll(&waits, 1, 10'000) <= 0) give_up("send");
      } else {
        give_up("send");
      }
    }
  }

  void send_message(Connection& one) {
    one.sent = Clock::now();
    write_all(one, message_);
  }

  /// False: nothing is there.
  static bool read_some(Connection& one) {
    std::array<char, 16 * 1024> buffer;
    const ssize_t got = ::recv(one.socket, buffer.data(), buffer.size(), 0);
    if (got == 0) refuse("a WebSocket was closed");
    if (got < 0 && errno != EAGAIN) give_up("recv");
    if (got > 0) one.received.append(buffer.data(), static_cast<std::size_t>(got));
    return got > 0;
  }

  /// Whether the whole echo is there; it is taken then, and must be the message.
  bool has_echo(Connection& one) const {
    if (!read_some(one)) return false;
    while (one.received.size() >= 2) {
      const auto first = static_cast<unsigned char>(one.received[0]);
      std::size_t head = 2;
      std::size_t size = static_cast<unsigned char>(one.received[1]);
      if (size == 126) {
        if (one.received.size() < 4) return false;
        head = 4;
        size = static_cast<std::size_t>(static_cast<unsigned char>(one.received[2])) << 8 |
               static_cast<unsigned char>(one.received[3]);
      }
      if (one.received.size() < head + size) return false;
      const std::string payload = one.received.substr(head, size);
      one.received.erase(0, head + size);
      if (first == text) {
        if (payload != payload_) refuse("an echo is not what was sent");
        return true;
      }
      if (first != ping) refuse("a frame that is no echo");
      write_all(one, frame(0x8a, payload));
    }
    return false;
  }

  std::string payload_;
  std::string message_;
  std::vector<Connection> connections_;
  int epoll_ = -1;
  std::vector<std::uint32_t> latencies_;
  std::uint64_t echoes_ = 0;
  Clock::time_point begun_;
  Clock::time_point ended_;
};

unsigned number(std::string_view name, std::string_view value, unsigned least, unsigned most) {
  unsigned parsed = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), parsed);
  if (error != std::errc{} || end != value.data() + value.size() || parsed < least ||
      parsed > most) {
    std::fprintf(stderr, "websocket_load: %.*s is a number from %u to %u\n",
                 static_cast<int>(name.size()), name.data(), least, most);
    std::exit(2);
  }
  return parsed;
}

}  // namespace

int main(int count, char** arguments) {
  const std::vector<std::string_view> words(arguments + 1, arguments + count);
  if (words.size() != 4) {
    std::fputs("usage: green_bench_websocket_load PORT CONNECTIONS SIZE MILLISECONDS|idle\n",
               stderr);
    return 2;
  }
  const unsigned port = number("PORT", words[0], 1, 65535);
  const unsigned connections = number("CONNECTIONS", words[1], 1, 20000);
  const unsigned size = number("SIZE", words[2], 0, 65535);
  if (words[3] == "idle") {
    Load load(static_cast<std::uint16_t>(port), connections, size);
    load.run({}, true);
    std::puts("open");
    std::fflush(stdout);
    char byte = 0;
    while (::read(STDIN_FILENO, &byte, 1) > 0) {
    }
    return 0;
  }
  const unsigned milliseconds = number("MILLISECONDS", words[3], 1, 60'000);
  Load load(static_cast<std::uint16_t>(port), connections, size);
  load.run(Clock::now() + std::chrono::milliseconds(milliseconds), false);
  load.print();
  return 0;
}
