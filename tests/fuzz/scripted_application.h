// An application whose answer is written in the request's path, one letter a step: what a fuzzer
// can learn to play. It checks what it is given. Loop thread.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "daemon/http/application.h"
#include "daemon/http/ascii.h"
#include "daemon/http/body.h"

namespace green::http {

class ScriptedApplication final : public Application {
 public:
  /// `streams`: it is called with the head, and takes the body as it comes.
  explicit ScriptedApplication(bool streams) : streams_(streams) {}

  bool streams_bodies() const override { return streams_; }
  void call(Exchange& exchange) override {
    const Request& request = exchange.request();
    check(request);
    if (request.path == company) {
      exchange.announce();
      company_ = &exchange;
      return;
    }
    log_request(request);
    if (!streams_) log_body(*request.body);
    heads.push_back(request.method == "HEAD");
    play({.exchange = &exchange, .script = std::string(request.path)});
  }

  /// Goes on with the exchanges that wait, as an outer loop does.
  void go_on() {
    for (Play& one : std::exchange(pending_, {})) {
      one.exchange->publish();
      play(std::move(one));
    }
  }

  /// The path of a request that is always about to begin: replies wait for its reply.
  static constexpr std::string_view company = "/company/";
  void end_company() {
    if (company_ != nullptr) std::exchange(company_, nullptr)->finish();
  }

  std::vector<bool> heads;  ///< for each request in order: whether it was a HEAD
  std::string seen;         ///< all requests, for comparison

 private:
  struct Play {
    Exchange* exchange;
    std::string script;
    std::size_t next = 0;
    std::size_t steps = 0;
    bool is_started = false;
  };

  static void check(const Request& request) {
    if (request.target.empty() || request.path.empty() || request.body == nullptr ||
        request.endpoints == nullptr || !is_token(request.method) ||
        (request.scheme != "http" && request.scheme != "https")) {
      std::abort();
    }
    for (const Header& header : request.headers) {
      if (!is_token(header.name) || header.name.contains('_') ||
          header.value.find_first_of(std::string_view("\r\n\0", 3)) != std::string_view::npos ||
          trim_whitespace(header.value) != header.value) {
        std::abort();
      }
    }
  }

  void log_request(const Request& request) {
    for (const std::string_view part :
         {request.method, request.target, request.path, request.query, request.scheme,
          std::string_view(request.endpoints->remote_address)}) {
      seen.append(part).push_back('\n');
    }
    for (const Header& header : request.headers) {
      seen.append(header.name).append(":").append(header.value).push_back('\n');
    }
  }

  void log_body(const Body& body) {
    // By small reads, as an application may: the same as a whole.
    char piece[7];
    std::uint64_t offset = 0;
    for (;;) {
      const auto count = body.read(offset, piece);
      if (!count) std::abort();
      if (*count == 0) break;
      seen.append(piece, *count);
      offset += *count;
    }
    if (offset != body.size()) std::abort();
    if (body.in_memory() && !seen.ends_with(body.memory())) std::abort();
  }

  /// What came of a streamed body; asks for more. Whether more may come.
  static bool take_body(Exchange& exchange) {
    Body& body = *exchange.request().body;
    std::array<char, 64> part{};
    while (body.take(part) > 0) {
    }
    exchange.want_body();
    return exchange.client_connected() && !exchange.body_is_whole();
  }

  /// Returns where the exchange is finished, or waits for go_on().
  void play(Play one) {
    constexpr std::size_t most_steps = 24;
    static const std::string large(100'000, 'L');
    Exchange& exchange = *one.exchange;
    const auto start = [&](int status, std::vector<Header> headers) {
      if (exchange.start(status, "Reason", headers)) one.is_started = true;
    };
    const auto write = [&](std::string_view data) { (void)exchange.write(data); };
    while (one.next < one.script.size() && one.steps < most_steps) {
      ++one.steps;
      switch (one.script[one.next++]) {
        case 'a':
          return exchange.abort();
        case 'l':
          if (one.steps == 1) exchange.announce();
          pending_.push_back(std::move(one));
          return;
        case 'r':
          if (!streams_ || !take_body(exchange)) break;
          pending_.push_back(std::move(one));
          return;
        case 'R':
          if (!streams_ || !take_body(exchange)) break;
          --one.next;
          --one.steps;
          pending_.push_back(std::move(one));
          return;
        case 's':
          start(200, {});
          break;
        case 'n':
          start(204, {});
          break;
        case 'm':
          start(304, {{"Content-Length", "9"}});
          break;
        case 'x':
          start(static_cast<int>(one.next) * 100, {{"X", "1"}});
          break;
        case 'b':
          if (exchange.start(200, "OK", std::vector<Header>{{"X", "a\r\nY: b"}})) std::abort();
          break;
        case 't':
          if (exchange.start(200, "", std::vector<Header>{{"Transfer-Encoding", "gzip"}})) {
            std::abort();
          }
          break;
        case 'c':
          start(200, {{"Content-Length", "8"}, {"Content-Length", "8"}});
          break;
        case 'C':
          start(200, {{"content-length", " 100000 "}, {"Date", "now"}, {"Server", "me"}});
          break;
        case 'k':
          start(200, {{"Connection", "x, Close"}, {"Keep-Alive", "9"}, {"TE", "a"}});
          break;
        case 'h':
          if (exchange.start(200, "", exchange.request().headers)) one.is_started = true;
          break;
        case 'i':
          (void)exchange.send_interim(103, exchange.request().headers);
          break;
        case 'e':
          write({});
          break;
        case 'w':
          write("part");
          break;
        case 'W':
          write(std::string_view(large).substr(0, 9000));
          break;
        case 'B':
          write(large);
          break;
        case 'F':
          return exchange.finish(std::string_view(large).substr(0, 9000));
        case 'p':
          return exchange.finish_file(part_of_a_file(one.next));
        case 'f':
          return exchange.finish();
        default:
          break;
      }
    }
    if (!one.is_started) start(200, {});
    exchange.finish("end");
  }

  /// Up to 300 KiB, more than a socket holds.
  static FilePart part_of_a_file(std::size_t number) {
    static const Fd file = [] {
      Fd made(open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
      if (!made || ftruncate(made.get(), 300 << 10) != 0) std::abort();
      return made;
    }();
    const std::uint64_t length = number % 2 == 0 ? 300 << 10 : number;
    return {.file = Fd(fcntl(file.get(), F_DUPFD_CLOEXEC, 0)), .offset = 0, .length = length};
  }

  const bool streams_;
  std::vector<Play> pending_;
  Exchange* company_ = nullptr;
};

}  // namespace green::http
