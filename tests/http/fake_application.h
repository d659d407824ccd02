// An Application that answers by a test's own function and remembers what it was asked.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "daemon/http/application.h"
#include "daemon/http/body.h"

namespace green::http::testing {

struct SeenRequest {
  std::string method, target, path, query;
  int version_minor = 1;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
  bool body_in_memory = true;
};

inline std::string read_body(const Body& body) {
  std::string text;
  std::array<char, 4096> piece{};
  for (;;) {
    const auto count = body.read(text.size(), piece);
    if (!count || *count == 0) return text;
    text.append(piece.data(), *count);
  }
}

inline SeenRequest seen(const Request& request) {
  SeenRequest copy{.method = std::string(request.method),
                   .target = std::string(request.target),
                   .path = std::string(request.path),
                   .query = std::string(request.query),
                   .version_minor = request.version_minor,
                   .headers = {},
                   .body = read_body(*request.body),
                   .body_in_memory = request.body->in_memory()};
  for (const Header& header : request.headers) {
    copy.headers.emplace_back(header.name, header.value);
  }
  return copy;
}

class FakeApplication final : public Application {
 public:
  /// Default: 200, the body "METHOD target [body]\n".
  std::function<void(Exchange&)> answer = [](Exchange& exchange) {
    const Request& request = exchange.request();
    const auto body = read_body(*request.body);
    const std::string reply = std::string(request.method) + " " + std::string(request.target) +
                              (body.empty() ? "" : " ") + body + "\n";
    if (exchange.start(200, "OK", {})) exchange.finish(reply);
  };
  std::vector<SeenRequest> requests;
  bool streams = false;  ///< before its server is made

  void call(Exchange& exchange) override {
    requests.push_back(seen(exchange.request()));
    answer(exchange);
  }
  bool streams_bodies() const override { return streams; }
};

}  // namespace green::http::testing
