// The limit of the benchmarks: one thread, epoll and llhttp, and replies that are ready in memory.
// What a server that also calls Python could reach at best. Not a part of green; answers only what
// bench/ asks, on 127.0.0.1.
//   green_bench_limit PORT hello|echo|large|stream
#include <arpa/inet.h>
#include <llhttp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

namespace {

constexpr std::size_t chunk_size = 16 * 1024;
constexpr int chunk_count = 64;
constexpr std::size_t largest_body = 1024 * 1024;

/// What is the same in every reply; an echo's body is the request's.
struct Reply {
  bool is_echo = false;
  bool is_chunked = false;
  std::string body;
};

std::optional<Reply> make_reply(std::string_view kind) {
  const std::string chunk(chunk_size, 'x');
  if (kind == "hello") return Reply{.body = "Hello, world!\n"};
  if (kind == "echo") return Reply{.is_echo = true, .body = {}};
  if (kind == "large") return Reply{.body = std::string(chunk_count * chunk_size, 'x')};
  if (kind != "stream") return std::nullopt;
  Reply reply{.is_chunked = true, .body = {}};
  for (int i = 0; i < chunk_count; ++i) reply.body.append("4000\r\n").append(chunk).append("\r\n");
  reply.body += "0\r\n\r\n";
  return reply;
}

/// Status line and the headers that change once a second at most.
std::string_view head() {
  static std::string text;
  static std::time_t made = 0;
  const std::time_t now = std::time(nullptr);
  if (now != made) {
    made = now;
    std::array<char, 64> date{};
    std::tm parts{};
    std::strftime(date.data(), date.size(), "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &parts));
    text = "HTTP/1.1 200 OK\r\nServer: limit\r\nContent-Type: text/plain\r\nDate: ";
    text.append(date.data()).append("\r\n");
  }
  return text;
}

enum class Next { read, write, close };

class Connection {
 public:
  Connection(int socket, const Reply& reply, const llhttp_settings_t& settings)
      : socket_(socket), reply_(reply) {
    llhttp_init(&parser_, HTTP_REQUEST, &settings);
    parser_.data = this;
  }
  ~Connection() { ::close(socket_); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  Next read() {
    static std::array<char, 65536> buffer;
    const ssize_t size = ::recv(socket_, buffer.data(), buffer.size(), 0);
    if (size < 0) return errno == EAGAIN || errno == EINTR ? Next::read : Next::close;
    if (size == 0) return Next::close;
    if (llhttp_execute(&parser_, buffer.data(), static_cast<std::size_t>(size)) != HPE_OK) {
      return Next::close;
    }
    return write();
  }

  Next write() {
    while (!out_.empty() || !rest_.empty()) {
      std::array<iovec, 2> parts{
          iovec{out_.data() + sent_, out_.size() - sent_},
          iovec{const_cast<char*>(rest_.data()), rest_.size()},  // sendmsg only reads it
      };
      msghdr message{};
      message.msg_iov = parts.data();
      message.msg_iovlen = rest_.empty() ? 1 : 2;
      const ssize_t size = ::sendmsg(socket_, &message, MSG_NOSIGNAL);
      if (size < 0) return errno == EAGAIN || errno == EINTR ? Next::write : Next::close;
      advance(static_cast<std::size_t>(size));
    }
    return closing_ ? Next::close : Next::read;
  }

  static llhttp_settings_t parser_settings() {
    llhttp_settings_t settings;
    llhttp_settings_init(&settings);
    settings.on_body = [](llhttp_t* parser, const char* at, std::size_t size) {
      return static_cast<Connection*>(parser->data)->on_body({at, size});
    };
    settings.on_message_complete = [](llhttp_t* parser) {
      return static_cast<Connection*>(parser->data)->on_message_complete();
    };
    return settings;
  }

 private:
  int on_body(std::string_view part) {
    if (body_.size() + part.size() > largest_body) return HPE_USER;
    body_ += part;
    return HPE_OK;
  }

  int on_message_complete() {
    closing_ = llhttp_should_keep_alive(&parser_) == 0;
    // Pipelined: what is not yet sent of the reply before goes first.
    out_.append(rest_);
    rest_ = {};
    out_.append(head());
    if (reply_.is_chunked) {
      out_ += "Transfer-Encoding: chunked\r\n\r\n";
    } else {
      std::array<char, 24> digits{};
      const std::size_t length = reply_.is_echo ? body_.size() : reply_.body.size();
      const auto end = std::to_chars(digits.begin(), digits.end(), length).ptr;
      out_.append("Content-Length: ").append(digits.data(), end).append("\r\n\r\n");
    }
    if (reply_.is_echo) {
      out_ += body_;
    } else if (reply_.body.size() <= chunk_size) {
      out_ += reply_.body;
    } else {
      rest_ = reply_.body;
    }
    body_.clear();
    return HPE_OK;
  }

  void advance(std::size_t size) {
    const std::size_t of_out = std::min(size, out_.size() - sent_);
    sent_ += of_out;
    if (sent_ == out_.size()) {
      out_.clear();
      sent_ = 0;
    }
    rest_.remove_prefix(size - of_out);
  }

  int socket_;
  const Reply& reply_;
  llhttp_t parser_{};
  std::string body_;
  std::string out_;
  std::size_t sent_ = 0;   ///< of out_
  std::string_view rest_;  ///< of reply_.body, after out_
  bool closing_ = false;
};

int listen_on(std::uint16_t port) {
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  const int one = 1;
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (listener < 0 || ::setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0 ||
      ::bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0 ||
      ::listen(listener, 1024) != 0) {
    std::perror("green_bench_limit: can't listen");
    return -1;
  }
  return listener;
}

class Loop {
 public:
  Loop(int listener, Reply reply)
      : listener_(listener),
        epoll_(::epoll_create1(EPOLL_CLOEXEC)),
        reply_(std::move(reply)),
        settings_(Connection::parser_settings()) {}

  int run() {
    if (!watch(EPOLL_CTL_ADD, listener_, EPOLLIN)) return 1;
    std::array<epoll_event, 256> events{};
    for (;;) {
      const int count = ::epoll_wait(epoll_, events.data(), events.size(), -1);
      if (count < 0 && errno != EINTR) {
        std::perror("green_bench_limit: epoll_wait");
        return 1;
      }
      for (int i = 0; i < count; ++i) handle(events[static_cast<std::size_t>(i)]);
    }
  }

 private:
  struct Entry {
    std::unique_ptr<Connection> connection;
    bool is_writing = false;
  };

  bool watch(int operation, int socket, std::uint32_t what) const {
    epoll_event event{};
    event.events = what;
    event.data.fd = socket;
    if (::epoll_ctl(epoll_, operation, socket, &event) == 0) return true;
    std::perror("green_bench_limit: epoll_ctl");
    return false;
  }

  void handle(const epoll_event& event) {
    if (event.data.fd == listener_) return accept_all();
    const auto found = connections_.find(event.data.fd);
    if (found == connections_.end()) return;
    auto& [connection, is_writing] = found->second;
    const Next next = is_writing ? connection->write() : connection->read();
    const bool writes = next == Next::write;
    if (next == Next::close || (writes != is_writing &&
                                !watch(EPOLL_CTL_MOD, found->first, writes ? EPOLLOUT : EPOLLIN))) {
      connections_.erase(found);
      return;
    }
    is_writing = writes;
  }

  void accept_all() {
    for (;;) {
      const int socket = ::accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (socket < 0) return;
      const int one = 1;
      ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
      auto connection = std::make_unique<Connection>(socket, reply_, settings_);
      if (watch(EPOLL_CTL_ADD, socket, EPOLLIN))
        connections_[socket].connection = std::move(connection);
    }
  }

  int listener_;
  int epoll_;
  Reply reply_;
  llhttp_settings_t settings_;
  std::unordered_map<int, Entry> connections_;
};

}  // namespace

int main(int argc, char** argv) {
  const std::string_view text = argc == 3 ? argv[1] : "";
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  auto reply = argc == 3 ? make_reply(argv[2]) : std::nullopt;
  if (error != std::errc{} || end != text.data() + text.size() || port == 0 || !reply) {
    std::fputs("usage: green_bench_limit PORT hello|echo|large|stream\n", stderr);
    return 64;
  }
  const int listener = listen_on(port);
  return listener < 0 ? 1 : Loop(listener, std::move(*reply)).run();
}
