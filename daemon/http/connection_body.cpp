// Connection: a request's body, on its way into memory or a file, into an application that takes it
// as it comes, or, once that has answered without it, to nowhere. Loop thread.
#include "daemon/http/connection.h"

#include <utility>

#include "common/log.h"
#include "daemon/http/websocket_handshake.h"

namespace green::http {
namespace {

constexpr std::string_view continue_reply = "HTTP/1.1 100 Continue\r\n\r\n";

}  // namespace

bool Connection::is_reading() const {
  switch (state_) {
    case ConnectionState::idle:
    case ConnectionState::reading_head:
    case ConnectionState::reading_body:
    case ConnectionState::skipping:
    case ConnectionState::lingering:
      return true;
    case ConnectionState::calling:
    case ConnectionState::sending:
      return is_reading_on();
    case ConnectionState::abandoned:
    case ConnectionState::upgraded:
    case ConnectionState::closed:
      return false;
  }
  return false;
}

bool Connection::is_reading_on() const {
  const Body& body = std::as_const(*exchange_).body();
  if (!body.is_streamed() || is_refused_ || exchange_->parser().is_complete()) return false;
  return state_ == ConnectionState::sending || body.waiting() < Body::window;
}

/// The application, or its reply, which it has given without the whole body.
bool Connection::has_answerer() const {
  return state_ == ConnectionState::calling || state_ == ConnectionState::sending ||
         state_ == ConnectionState::skipping;
}

void Connection::begin_body(bool is_followed) {
  state_ = ConnectionState::reading_body;
  const RequestParser& request = exchange_->parser();
  const bool is_expected = !is_followed && request.expects_continue();
  if (context_.streams_bodies && !asks_for_websocket(request.request())) {
    exchange_->body().stream();
    awaits_invitation_ = is_expected;
    return;
  }
  start_timeout(context_.body_timeouts);
  if (is_expected) invite_body();
}

void Connection::invite_body() {
  // send() has seen to a client that is gone.
  if (auto sent = send({.before = continue_reply, .data = {}, .after = {}}); !sent) {
    log_debug("inviting a body: {}", sent.error().message());
  }
}

void Connection::want_body() {
  if (state_ != ConnectionState::calling || exchange_->parser().is_complete()) return;
  // Between a final reply's head and body there is no place for an interim one.
  if (std::exchange(awaits_invitation_, false) && !exchange_->head_sent()) invite_body();
  if (state_ != ConnectionState::calling) return;
  if (!has_timeout()) watch_body_time();
  if (is_reading() && readable_) context_.reactor.defer(*this);
}

/// `count` more bytes of it came.
void Connection::note_body(std::size_t count) {
  if (count == 0) return;
  awaits_invitation_ = false;
  switch (state_) {
    case ConnectionState::reading_body:
      return start_timeout(context_.body_timeouts);
    case ConnectionState::calling:
      watch_body_time();
      return exchange_->note_change();
    case ConnectionState::skipping:
      start_timeout(context_.body_timeouts);
      [[fallthrough]];
    case ConnectionState::sending:
      skipped_ += count;
      if (skipped_ <= HttpExchange::longest_skip) return;
      is_refused_ = true;
      if (state_ == ConnectionState::skipping) linger();
      return;
    default:
      return;
  }
}

/// All of it came, after the application was called.
void Connection::body_arrived() {
  switch (state_) {
    case ConnectionState::calling:
      watch_body_time();
      return exchange_->note_change();
    case ConnectionState::skipping:
      return go_idle();
    default:
      return;
  }
}

/// What came is no request, or too much of one.
void Connection::body_failed(const Rejection& rejection) {
  switch (state_) {
    case ConnectionState::calling:
      is_refused_ = true;
      abandon(exchange_->make_refusal(rejection), rejection.status);
      return exchange_->note_change();
    case ConnectionState::sending:
      is_refused_ = true;
      return;
    case ConnectionState::skipping:
      return linger();
    default:
      return refuse(rejection);
  }
}

/// The client's last byte was read.
void Connection::input_is_over() {
  switch (state_) {
    case ConnectionState::calling:
      return lose_client(0);
    case ConnectionState::sending:
      // The reply is on its way, and may be wanted all the same.
      is_refused_ = true;
      return;
    default:
      // Whatever a whole request asked for was answered: what is left is none.
      return close();
  }
}

/// While the application has the exchange: the client has its time to send, where it may.
void Connection::watch_body_time() {
  if (watches_writable_) return;
  if (is_reading_on() && !awaits_invitation_)
    start_timeout(context_.body_timeouts);
  else
    cancel_timeout();
}

}  // namespace green::http
