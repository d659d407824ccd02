// An Exchange with a request of the test's making, that records the reply.
#pragma once

#include <unistd.h>

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "daemon/http/application.h"
#include "daemon/http/body.h"

namespace green::http {

class RecordedExchange final : public Exchange {
 public:
  explicit RecordedExchange(std::string target = "/") : target_(std::move(target)) {
    endpoints = {.remote_address = "192.0.2.7",
                 .remote_port = "4711",
                 .local_address = "127.0.0.1",
                 .local_port = "8000"};
    values.body = &request_body;
    values.endpoints = &endpoints;
    values.method = "GET";
    set_target(target_);
  }

  void set_target(std::string target) {
    target_ = std::move(target);
    values.target = target_;
    const std::string_view view = target_;
    const auto mark = view.find('?');
    values.path = view.substr(0, mark);
    values.query = mark == std::string_view::npos ? std::string_view() : view.substr(mark + 1);
  }
  void add_header(std::string_view name, std::string_view value) {
    headers_.push_back({name, value});
    values.headers = headers_;
  }

  const Request& request() const override { return values; }
  Result<void> start(int code, std::string_view text, std::span<const Header> list) override {
    for (const Header& header : list)
      if (header.value.find_first_of("\r\n") != std::string_view::npos)
        return fail(ErrorCode::application, "a header's value holds a line break");
    status = code;
    reason = text;
    headers.clear();
    for (const Header& header : list) headers.emplace_back(header.name, header.value);
    return {};
  }
  Result<void> send_interim(int code, std::span<const Header> list) override {
    if (sent) return fail(ErrorCode::application, "the reply's head was sent already");
    auto& interim = interims.emplace_back(code, decltype(headers)());
    for (const Header& header : list) interim.second.emplace_back(header.name, header.value);
    return {};
  }
  Result<void> write(std::string_view data) override {
    if (gone) return fail(ErrorCode::unavailable, "the client is gone");
    sent = true;
    parts.emplace_back(data);
    body += data;
    if (on_write) on_write();
    return {};
  }
  void finish(std::string_view rest) override {
    sent = true;
    body += rest;
    ++finishes;
  }
  using Exchange::finish;
  void finish_file(FilePart part) override {
    std::string text(static_cast<std::size_t>(part.length), '\0');
    const auto count =
        pread(part.file.get(), text.data(), text.size(), static_cast<off_t>(part.offset));
    text.resize(count < 0 ? 0 : static_cast<std::size_t>(count));
    file = text;
    finish(text);
  }
  void abort() override { ++aborts; }
  void give_up() override { gone = true; }
  void give_up_answered() override { gone = true; }
  bool head_sent() const override { return sent; }
  bool client_connected() const override { return !gone; }

  Limits limits;
  Body request_body{limits};
  Endpoints endpoints;
  Request values;

  int status = 0;
  std::string reason;
  std::vector<std::pair<std::string, std::string>> headers;
  std::vector<std::pair<int, std::vector<std::pair<std::string, std::string>>>> interims;
  std::vector<std::string> parts;
  std::string body;
  std::optional<std::string> file;  ///< what finish_file() was given
  int finishes = 0;
  int aborts = 0;
  bool sent = false;
  bool gone = false;
  std::function<void()> on_write;

 private:
  std::string target_;
  std::vector<Header> headers_;
};

}  // namespace green::http
