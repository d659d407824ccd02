// Fuzz target: bytes of one connection through the real server to an application that plays what
// the request's path says. What it was asked and what it answered must not depend on how the bytes
// were cut into reads, and the replies must be replies. With -fsanitize=fuzzer, or with a main that
// replays files. The first byte is the server's settings, the second the client's manners.
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "daemon/http/server.h"
#include "tests/fuzz/replay.h"
#include "tests/fuzz/reply_reader.h"
#include "tests/fuzz/scripted_application.h"

namespace green::http {
namespace {

struct Manners {
  std::size_t piece;         ///< bytes of a send
  bool is_uneven = false;    ///< pieces of many sizes
  bool reads_late = false;   ///< takes no reply before it sent everything
  bool leaves = false;       ///< closes without reading
  bool out_of_time = false;  ///< every time limit is over at once
  bool meets_drain = false;  ///< the server begins to drain after the first piece
  bool is_streamed = false;  ///< to an application that takes bodies as they come
  /// Others are ready in each turn, and one is about to be answered: what came is read ahead of
  /// them, and what is answered waits for them.
  bool has_company = false;
  /// Nothing that depends on time or on the other's pace.
  bool is_calm() const {
    return !reads_late && !leaves && !out_of_time && !meets_drain && !is_streamed;
  }
};

Limits make_limits(unsigned first, const Manners& manners) {
  Limits limits;
  limits.body_memory = 64;
  limits.output_memory = 64;
  limits.body_bytes = 2048;
  limits.header_count = 16;
  limits.request_line = 256;
  limits.field_bytes = 512;
  limits.head_bytes = 1024;
  limits.spool_directory = "/dev/shm";
  limits.proxy_protocol = first % 4 == 1;
  static const std::vector<std::string> trusted{"unix:", "192.0.2.0/24"};
  if (first % 2 == 1) limits.trusted_peers = *TrustedPeers::create(trusted);
  if (first % 8 == 5) limits.header_map = HeaderMap::refuse;
  if (manners.out_of_time) {
    limits.head_time = limits.body_idle = limits.write_stall = limits.keepalive = limits.linger =
        limits.drain_late = limits.drain_latest = std::chrono::microseconds(1);
  }
  return limits;
}

/// What was asked, and the replies without the Date, which may differ.
struct Outcome {
  std::string seen;
  std::string replies;
  std::vector<bool> heads;
};

/// Every `begin` and what follows it, up to `end`.
void erase_all(std::string& text, std::string_view begin, std::string_view end) {
  for (auto at = text.find(begin); at != std::string::npos; at = text.find(begin, at)) {
    const auto stop = text.find(end, at + begin.size());
    text.erase(at, stop == std::string::npos ? stop : stop - at);
  }
}

/// Always ready, and never does anything.
class Company final : public EventHandler {
 public:
  Company() : ready_(eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK)) {}
  int fd() const { return ready_.get(); }

 private:
  void on_events(std::uint32_t) override {}

  Fd ready_;
};

class Exchanges {
 public:
  Exchanges(unsigned first, const Manners& manners)
      : manners_(manners), application_(manners.is_streamed) {
    auto reactor = Reactor::create();
    if (!reactor) std::abort();
    reactor_ = std::move(*reactor);
    server_ = Server::create(*reactor_, application_, observer_, make_limits(first, manners));
    if (manners.has_company) bring_company();
    client_ = connect();
  }

  Outcome run(std::string_view input) {
    unsigned random = static_cast<unsigned>(manners_.piece);
    while (!input.empty()) {
      random = random * 1103515245 + 12345;
      const auto piece = input.substr(
          0, manners_.is_uneven ? (random >> 16) % manners_.piece + 1 : manners_.piece);
      const auto sent = ::send(client_.get(), piece.data(), piece.size(), MSG_NOSIGNAL);
      if (sent <= 0) break;
      input.remove_prefix(static_cast<std::size_t>(sent));
      turn();
      if (!manners_.reads_late) read();
      if (manners_.meets_drain && !server_->draining()) server_->drain([] {});
    }
    if (manners_.leaves) {
      client_.reset();
    } else {
      shutdown(client_.get(), SHUT_WR);
    }
    application_.end_company();
    company_client_.reset();
    for (int i = 0; i < 1000 && server_->connection_count() > 0; ++i) {
      turn();
      read();
    }
    if (server_->connection_count() > 0) std::abort();  // a connection that nothing ends
    read();
    erase_all(replies_, "\r\nDate: ", "\r\n");
    return {std::move(application_.seen), std::move(replies_), std::move(application_.heads)};
  }

 private:
  Fd connect() {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) std::abort();
    if (!server_->adopt(Fd(ends[1]))) std::abort();
    return Fd(ends[0]);
  }
  void bring_company() {
    if (!reactor_->add(company_.fd(), EPOLLIN, company_)) std::abort();
    company_client_ = connect();
    const std::string request =
        "GET " + std::string(ScriptedApplication::company) + " HTTP/1.1\r\nHost: a\r\n\r\n";
    if (::send(company_client_.get(), request.data(), request.size(), MSG_NOSIGNAL) <= 0)
      std::abort();
    turn();
  }
  void turn() {
    if (!reactor_->turn(false)) std::abort();
    application_.go_on();
  }
  void read() {
    if (!client_) return;
    static std::array<char, 65536> buffer;
    for (;;) {
      const auto count = recv(client_.get(), buffer.data(), buffer.size(), 0);
      if (count <= 0) return;
      replies_.append(buffer.data(), static_cast<std::size_t>(count));
    }
  }

  Manners manners_;
  Company company_;
  std::unique_ptr<Reactor> reactor_;
  ScriptedApplication application_;
  ServerObserver observer_;
  std::unique_ptr<Server> server_;
  Fd company_client_;
  Fd client_;
  std::string replies_;
};

/// Whether the last bytes are a "100 Continue", to a client that did not send on.
bool is_invited(const ReplyReader& reader) {
  ReplyReader rest = reader;
  return !rest.take(false) && rest.left() == 0 && rest.taken().empty();
}

/// A reply for each request in order, then at most one refusal; one that is not whole is the last.
struct Checked {
  std::string answers;  ///< without the refusal: which of two defects it names may hang on what
                        ///< came yet
  bool is_refused = false;
};
Checked check_replies(const Outcome& outcome) {
  ReplyReader reader(outcome.replies);
  for (const bool to_head : outcome.heads) {
    if (!reader.take(to_head)) return {.answers = reader.taken()};
  }
  const auto is_last = [&reader](bool to_head) {
    ReplyReader rest = reader;
    return rest.take(to_head) && rest.left() == 0;
  };
  // The refusal of a HEAD request has no body.
  const bool is_refused = reader.left() > 0 && !is_invited(reader);
  if (is_refused && !is_last(false) && !is_last(true)) std::abort();
  return {.answers = reader.taken(), .is_refused = is_refused};
}

void run(std::string_view input) {
  if (input.size() < 2) return;
  const auto first = static_cast<unsigned char>(input[0]);
  const auto second = static_cast<unsigned char>(input[1]);
  const Manners manners{.piece = first + std::size_t{1},
                        .is_uneven = (second & 1) != 0,
                        .reads_late = (second & 2) != 0,
                        .leaves = (second & 4) != 0,
                        .out_of_time = (second & 8) != 0,
                        .meets_drain = (second & 16) != 0,
                        .is_streamed = (second & 32) != 0,
                        .has_company = (second & 64) != 0};
  input.remove_prefix(2);
  const Outcome outcome = Exchanges(first, manners).run(input);
  if (!manners.is_calm()) return;
  const Checked checked = check_replies(outcome);
  // The pace of replies past a socket's buffer is the kernel's.
  constexpr std::size_t surely_taken = 150'000;
  if (outcome.replies.size() > surely_taken) return;
  const Manners at_once{.piece = std::max(input.size(), std::size_t{1})};
  const Outcome other = Exchanges(first, at_once).run(input);
  const Checked other_checked = check_replies(other);
  if (other.seen != outcome.seen || other_checked.answers != checked.answers ||
      other_checked.is_refused != checked.is_refused) {
    std::abort();
  }
}

}  // namespace
}  // namespace green::http

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  green::http::run({reinterpret_cast<const char*>(data), size});
  return 0;
}
