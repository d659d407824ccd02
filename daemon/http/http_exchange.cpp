#include "daemon/http/http_exchange.h"

#include <fmt/format.h>

#include <array>

#include "common/log.h"
#include "daemon/http/forwarded.h"

namespace green::http {
namespace {

constexpr std::size_t kept_exchanges = 64;
constexpr std::array plain_text{Header{"Content-Type", "text/plain; charset=utf-8"}};

}  // namespace

HttpExchange::HttpExchange(const Limits& limits, DateLine& date)
    : limits_(limits), body_(limits), parser_(limits, body_), writer_(date), output_(limits) {}

void HttpExchange::open(const Endpoints& endpoints, bool peer_is_known) {
  request_ = parser_.request();
  request_.endpoints = &endpoints;
  if (parser_.has_forwarding_headers()) {
    const bool is_believed =
        peer_is_known && limits_.trusted_peers.trusts_peer(endpoints.remote_address);
    forwarded_ = endpoints;
    request_.endpoints = &forwarded_;
    apply_forwarded(limits_.trusted_peers, is_believed, parser_.headers(), request_, forwarded_);
  }
  writer_.begin(request_.method == "HEAD", request_.version_minor, parser_.keep_alive());
  stage_ = Stage::open;
}

Result<void> HttpExchange::start(int status, std::string_view reason,
                                 std::span<const Header> headers) {
  if (stage_ != Stage::open) return fail(ErrorCode::application, "the reply is finished");
  return writer_.start(status, reason, headers);
}

Result<void> HttpExchange::send_interim(int status, std::span<const Header> headers) {
  if (stage_ != Stage::open || writer_.head_made()) {
    return fail(ErrorCode::application, "the reply's head was sent already");
  }
  const auto interim = make_interim(status, headers);
  if (!interim) return fail(interim.error());
  // RFC 9110, 15.2: HTTP/1.0 knows none.
  if (request_.version_minor == 0) return {};
  return sink_->send({.before = *interim, .data = {}, .after = {}});
}

void HttpExchange::prepare_head() {
  if (!writer_.head_made() && !sink_->may_keep_alive()) writer_.forbid_keep_alive();
}

Result<void> HttpExchange::write(std::string_view data) {
  if (stage_ != Stage::open) return fail(ErrorCode::application, "the reply is finished");
  if (!writer_.started()) return fail(ErrorCode::application, "no reply was started");
  if (!sink_->client_connected()) return fail(ErrorCode::unavailable, "the client is gone");
  if (data.empty()) return {};
  prepare_head();
  const Frame frame = writer_.next(data, false);
  if (frame.size() > 0) {
    if (auto sent = sink_->send(frame); !sent) return sent;
  }
  if (writer_.overflowed()) {
    return fail(ErrorCode::application, "the body is longer than its Content-Length");
  }
  return {};
}

void HttpExchange::note_length() {
  if (writer_.overflowed()) {
    log_warning("{} {}: the reply's body is longer than its Content-Length: cut there",
                request_.method, request_.path);
  }
  is_whole_ = !writer_.fell_short();
  if (!is_whole_) {
    log_warning("{} {}: the reply's body is shorter than its Content-Length: connection closed",
                request_.method, request_.path);
  }
}

void HttpExchange::end(Result<void> sent) {
  // A client that is gone is known to the sink.
  if (!sent) is_whole_ = false;
  stage_ = Stage::finished;
  sink_->reply_finished(is_whole_);
}

void HttpExchange::finish(std::string_view rest) {
  if (stage_ != Stage::open) return;
  if (!writer_.started()) return abort();
  prepare_head();
  const Frame frame = writer_.next(rest, true);
  note_length();
  end(frame.size() > 0 ? sink_->send(frame) : Result<void>{});
}

void HttpExchange::finish_file(FilePart part) {
  if (stage_ != Stage::open) return;
  if (!writer_.started()) return abort();
  prepare_head();
  const Frame frame = writer_.next_elsewhere(part.length);
  note_length();
  end(sink_->send_file(frame, std::move(part)));
}

void HttpExchange::abort() {
  if (stage_ != Stage::open) return;
  if (!writer_.head_made() && writer_.start(500, standard_reason(500), plain_text).has_value()) {
    return finish("500 Internal Server Error\n");
  }
  is_whole_ = false;
  stage_ = Stage::finished;
  sink_->reply_finished(false);
}

void HttpExchange::give_up() {
  if (stage_ == Stage::open) sink_->give_up(!writer_.head_made());
}

void HttpExchange::refuse(const Rejection& rejection) {
  writer_.begin(false, 1, false);
  const auto reason = standard_reason(rejection.status);
  stage_ = Stage::open;
  if (!writer_.start(rejection.status, reason, plain_text)) return abort();
  request_ = {};
  finish(fmt::format("{} {}: {}\n", rejection.status, reason, rejection.explanation));
}

void HttpExchange::reset() {
  sink_ = nullptr;
  stage_ = Stage::reading;
  is_whole_ = false;
  parser_.begin();
  body_.clear();
  output_.clear();
  writer_.begin(false, 1, false);
}

std::unique_ptr<HttpExchange> ExchangePool::take() {
  if (free_.empty()) return std::make_unique<HttpExchange>(limits_, date_);
  auto exchange = std::move(free_.back());
  free_.pop_back();
  return exchange;
}

void ExchangePool::give_back(std::unique_ptr<HttpExchange> exchange) {
  exchange->reset();
  if (free_.size() < kept_exchanges) free_.push_back(std::move(exchange));
}

}  // namespace green::http
