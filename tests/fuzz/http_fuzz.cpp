// Fuzz target: bytes of one connection through the real server to an application that answers in
// ways the bytes choose. With -fsanitize=fuzzer, or with a main that replays files.
#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "daemon/http/body.h"
#include "daemon/http/server.h"
#include "tests/fuzz/replay.h"

namespace green::http {
namespace {

/// Answers by the request's own size, so that every way out of an exchange is taken.
class MoodyApplication final : public Application {
 public:
  void call(Exchange& exchange) override {
    const Request& request = exchange.request();
    if (request.target.empty() || request.body == nullptr) std::abort();
    std::size_t sum = request.body->size() + request.target.size();
    for (const Header& header : request.headers) {
      if (header.value.find_first_of(std::string_view("\r\n\0", 3)) != std::string_view::npos) {
        std::abort();
      }
      sum += header.name.size() + header.value.size();
    }
    if (sum % 5 == 0) (void)exchange.send_interim(103, request.headers);
    switch (sum % 6) {
      case 0:
        return exchange.abort();
      case 1:
        pending.push_back(&exchange);
        return;
      case 2:
        if (exchange.start(200, "OK", request.headers)) (void)exchange.write("part");
        return exchange.abort();
      case 3:
        if (exchange.start(204, "", {})) (void)exchange.write(request.target);
        return exchange.finish();
      default:
        if (exchange.start(200, "OK", {})) (void)exchange.write(request.target);
        return exchange.finish("end");
    }
  }
  std::vector<Exchange*> pending;
};

void run(std::string_view input) {
  // The first byte says how the rest is cut into reads, and what the server is told of its peers.
  if (input.empty()) return;
  const auto first = static_cast<unsigned char>(input.front());
  const std::size_t part = first + std::size_t{1};
  input.remove_prefix(1);
  auto reactor = Reactor::create();
  if (!reactor) std::abort();
  MoodyApplication application;
  ServerObserver observer;
  Limits limits;
  limits.body_memory = 64;
  limits.output_memory = 64;
  limits.spool_directory = "/tmp";
  limits.proxy_protocol = first % 4 == 1;
  const std::vector<std::string> trusted{"unix:", "192.0.2.0/24"};
  if (first % 2 == 1) limits.trusted_peers = *TrustedPeers::create(trusted);
  if (first % 8 == 5) limits.header_map = HeaderMap::refuse;
  const auto server = Server::create(**reactor, application, observer, limits);
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) std::abort();
  const Fd client(ends[0]);
  if (!server->adopt(Fd(ends[1]))) std::abort();
  std::array<char, 65536> replies{};
  const auto turn = [&] {
    if (!(*reactor)->turn(false)) std::abort();
    const auto pending = std::exchange(application.pending, {});
    for (Exchange* exchange : pending) {
      if (exchange->start(200, "OK", {})) exchange->finish("late");
    }
    while (recv(client.get(), replies.data(), replies.size(), 0) > 0) {
    }
  };
  while (!input.empty()) {
    const auto piece = input.substr(0, part);
    const auto sent = ::send(client.get(), piece.data(), piece.size(), MSG_NOSIGNAL);
    if (sent <= 0) break;
    input.remove_prefix(static_cast<std::size_t>(sent));
    turn();
  }
  shutdown(client.get(), SHUT_WR);
  for (int i = 0; i < 1000 && server->connection_count() > 0; ++i) turn();
  if (server->connection_count() > 0) std::abort();  // a connection that nothing ends
}

}  // namespace
}  // namespace green::http

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  green::http::run({reinterpret_cast<const char*>(data), size});
  return 0;
}
