#include "daemon/http/http_exchange.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "common/log.h"
#include "daemon/http/ascii.h"
#include "daemon/http/forwarded.h"
#include "daemon/http/standard_reason.h"
#include "daemon/http/websocket_handshake.h"

namespace green::http {
namespace {

constexpr std::size_t kept_exchanges = 64;
constexpr std::array plain_text{Header{"Content-Type", "text/plain; charset=utf-8"}};

std::string text_of(const Rejection& rejection) {
  return fmt::format("{} {}: {}\n", rejection.status, standard_reason(rejection.status),
                     rejection.explanation);
}

}  // namespace

HttpExchange::HttpExchange(const Limits& limits, DateLine& date, RequestIdSource& ids)
    : limits_(limits),
      date_(date),
      ids_(ids),
      body_(limits),
      parser_(limits, body_),
      writer_(date, limits.keeps_reply_head),
      output_(limits) {}

void HttpExchange::open(const Endpoints& endpoints, bool peer_is_known) {
  request_ = &parser_.request();
  request_->endpoints = &endpoints;
  if (parser_.has_forwarding_headers()) {
    const bool is_believed =
        peer_is_known && limits_.trusted_peers.trusts_peer(endpoints.remote_address);
    forwarded_ = endpoints;
    request_->endpoints = &forwarded_;
    apply_forwarded(limits_.trusted_peers, is_believed, parser_.headers(), *request_, forwarded_);
  }
  writer_.begin(request_->method == "HEAD", request_->version_minor, parser_.keep_alive());
  stage_ = Stage::open;
  if (limits_.request_id != RequestIdUse::nobody)
    identify(peer_is_known && limits_.trusted_peers.trusts_peer(endpoints.remote_address));
}

void HttpExchange::identify(bool peer_is_believed) {
  std::vector<Header>& headers = parser_.headers();
  const auto is_id = [](const Header& header) {
    return equals_ignoring_case(header.name, "x-request-id");
  };
  const auto sent = std::ranges::find_if(headers, is_id);
  if (peer_is_believed && sent != headers.end() && is_request_id(sent->value))
    request_id_ = sent->value;
  else
    ids_.next(request_id_);
  request_->request_id = request_id_;
  if (limits_.request_id == RequestIdUse::access_log) return;
  std::erase_if(headers, is_id);
  headers.push_back({.name = "X-Request-ID", .value = request_id_});
  request_->headers = headers;
  if (limits_.request_id == RequestIdUse::reply) writer_.set_request_id(request_id_);
}

Result<void> HttpExchange::start(int status, std::string_view reason,
                                 std::span<const Header> headers) {
  if (stage_ != Stage::open) return fail(ErrorCode::application, "the reply is finished");
  return writer_.start(status, reason, headers);
}

Result<void> HttpExchange::add_trailers(std::span<const Header> trailers) {
  if (stage_ != Stage::open) return fail(ErrorCode::application, "the reply is finished");
  return writer_.add_trailers(trailers);
}

Result<void> HttpExchange::send_interim(int status, std::span<const Header> headers) {
  if (stage_ != Stage::open || writer_.head_made()) {
    return fail(ErrorCode::application, "the reply's head was sent already");
  }
  const auto interim = make_interim(status, headers);
  if (!interim) return fail(interim.error());
  // RFC 9110, 15.2: HTTP/1.0 knows none.
  if (request_->version_minor == 0) return {};
  return sink_->send({.before = *interim, .data = {}, .after = {}});
}

void HttpExchange::prepare_head(bool is_last) {
  if (writer_.head_made()) return;
  if (!sink_->may_keep_alive() || !may_skip_body(is_last)) writer_.forbid_keep_alive();
}

bool HttpExchange::may_skip_body(bool is_last) const {
  if (parser_.is_complete()) return true;
  // RFC 9110, 10.1.1: after a final reply such a client sends its body or does not; who can tell.
  if (sink_->awaits_invitation()) return false;
  return !is_last || parser_.body_left().value_or(0) <= longest_skip;
}

Result<void> HttpExchange::write(std::string_view data) {
  if (stage_ != Stage::open) return fail(ErrorCode::application, "the reply is finished");
  if (!writer_.started()) return fail(ErrorCode::application, "no reply was started");
  if (!sink_->client_connected()) return fail(ErrorCode::unavailable, "the client is gone");
  prepare_head(false);
  const Frame frame = writer_.next(data, false);
  if (frame.size() > 0) {
    auto sent = writer_.has_all() ? sink_->send_last(frame) : sink_->send(frame);
    if (!sent) return sent;
  }
  if (writer_.overflowed()) {
    return fail(ErrorCode::application, "the body is longer than its Content-Length");
  }
  return {};
}

void HttpExchange::note_length() {
  if (writer_.overflowed()) {
    log_warning("{} {}: the reply's body is longer than its Content-Length: cut there",
                request_->method, request_->path);
  }
  is_whole_ = !writer_.fell_short();
  if (!is_whole_) {
    log_warning("{} {}: the reply's body is shorter than its Content-Length: connection closed",
                request_->method, request_->path);
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
  prepare_head(true);
  const Frame frame = writer_.next(rest, true);
  note_length();
  if (frame.size() == 0) return end({});
  end(is_whole_ ? sink_->send_last(frame) : sink_->send(frame));
}

void HttpExchange::finish_file(FilePart part) {
  if (stage_ != Stage::open) return;
  if (!writer_.started()) return abort();
  prepare_head(true);
  const Frame frame = writer_.next_elsewhere(part.length);
  note_length();
  end(sink_->send_file(frame, std::move(part)));
}

Result<WebSocket*> HttpExchange::accept_websocket(std::string_view subprotocol,
                                                  std::span<const Header> headers,
                                                  WebSocketReceiver& receiver) {
  if (stage_ != Stage::open || writer_.head_made()) {
    return fail(ErrorCode::application, "the reply's head was sent already");
  }
  if (!asks_for_websocket(*request_)) {
    return fail(ErrorCode::application, "the request asks for no WebSocket");
  }
  auto offer = read_websocket_offer(*request_);
  if (!offer) return fail(ErrorCode::application, std::string(offer.error().explanation));
  if (!limits_.websocket_compression) offer->deflate.reset();
  std::vector<Header> all(headers.begin(), headers.end());
  if (limits_.request_id == RequestIdUse::reply) {
    all.push_back({.name = "X-Request-ID", .value = request_id_});
  }
  const auto head = make_websocket_reply(*offer, subprotocol, all);
  if (!head) return fail(head.error());
  auto made = sink_->become_websocket(*head, offer->deflate, receiver);
  if (!made) return made;
  is_whole_ = true;
  stage_ = Stage::finished;
  sink_->reply_finished(true);
  return made;
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

void HttpExchange::publish() {
  if (stage_ == Stage::open && !writer_.head_made()) sink_->publish();
}

void HttpExchange::announce() {
  if (stage_ == Stage::open) sink_->announce();
}

void HttpExchange::want_body() {
  if (stage_ == Stage::open) sink_->want_body();
}

void HttpExchange::give_up() {
  if (stage_ != Stage::open) return;
  sink_->give_up(writer_.head_made() ? SentSoFar::part : SentSoFar::nothing);
}

void HttpExchange::give_up_answered() {
  if (stage_ == Stage::open) sink_->give_up(SentSoFar::timeout_reply);
}

void HttpExchange::refuse(const Rejection& rejection, const Endpoints& endpoints) {
  refused_ = parser_.known();
  request_ = &refused_;
  request_->endpoints = &endpoints;
  writer_.begin(request_->method == "HEAD", 1, false);
  if (limits_.request_id != RequestIdUse::nobody) {
    ids_.next(request_id_);
    request_->request_id = request_id_;
    if (limits_.request_id == RequestIdUse::reply) writer_.set_request_id(request_id_);
  }
  stage_ = Stage::open;
  if (!writer_.start(rejection.status, standard_reason(rejection.status), plain_text))
    return abort();
  finish(text_of(rejection));
}

std::string HttpExchange::make_refusal(const Rejection& rejection) {
  ResponseWriter writer(date_);
  writer.begin(request_->method == "HEAD", request_->version_minor, false);
  if (limits_.request_id == RequestIdUse::reply) writer.set_request_id(request_id_);
  if (!writer.start(rejection.status, standard_reason(rejection.status), plain_text)) return {};
  const std::string text = text_of(rejection);
  const Frame frame = writer.next(text, true);
  return std::string(frame.before).append(frame.data).append(frame.after);
}

void HttpExchange::reset() {
  sink_ = nullptr;
  watcher_ = nullptr;
  stage_ = Stage::reading;
  is_whole_ = false;
  parser_.begin();
  body_.clear();
  output_.clear();
  writer_.begin(false, 1, false);
  request_ = &refused_;
}

std::unique_ptr<HttpExchange> ExchangePool::take() {
  if (free_.empty()) return std::make_unique<HttpExchange>(limits_, date_, ids_);
  auto exchange = std::move(free_.back());
  free_.pop_back();
  return exchange;
}

void ExchangePool::give_back(std::unique_ptr<HttpExchange> exchange) {
  exchange->reset();
  if (free_.size() < kept_exchanges) free_.push_back(std::move(exchange));
}

}  // namespace green::http
