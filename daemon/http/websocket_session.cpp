#include "daemon/http/websocket_session.h"

#include <fmt/format.h>

#include <utility>

#include "common/log.h"

namespace green::http {
namespace {

/// A client that is gone was told of by lost().
void note_unsent(const Error& error) { log_debug("a WebSocket: {}", error.message()); }

}  // namespace

WebSocketSession::WebSocketSession(UpgradedTransport& transport, WebSocketReceiver& receiver,
                                   std::size_t longest_message, CodecTools& tools,
                                   std::optional<DeflateAgreement> agreement)
    : transport_(transport), receiver_(receiver), codec_(longest_message, tools, agreement) {}

Result<void> WebSocketSession::send(MessageKind kind, std::string_view data) {
  if (state_ != State::open) return fail(ErrorCode::unavailable, "the WebSocket is closed");
  return transport_.send(codec_.message(kind, data));
}

std::uint64_t WebSocketSession::unsent() const {
  return state_ == State::closed ? 0 : transport_.unsent();
}

void WebSocketSession::resume() {
  if (std::exchange(is_paused_, false) && wants_input()) transport_.read_on();
}

Result<void> WebSocketSession::close(int code, std::string_view reason) {
  if (!is_close_code(code)) {
    return fail(ErrorCode::application, fmt::format("{} is no close code to send", code));
  }
  if (reason.size() > longest_control - 2 || !is_utf8(reason)) {
    return fail(ErrorCode::application, "a close reason is UTF-8 of at most 123 bytes");
  }
  if (state_ == State::open) send_close(code, reason);
  return {};
}

void WebSocketSession::finish(int code) {
  is_finished_ = true;
  if (state_ == State::open) send_close(code, {});
  // What waits for an application that is gone is dropped; the client's Close may be behind it.
  if (std::exchange(is_paused_, false) && wants_input()) transport_.read_on();
  transport_.released();
}

bool WebSocketSession::wants_input() const {
  return state_ == State::closing || (state_ == State::open && !is_paused_);
}

std::string_view WebSocketSession::take(std::string_view input) {
  if (state_ == State::open && !input.empty()) {
    // Whatever comes shows that the client is there.
    awaits_pong_ = false;
    transport_.wait_for(UpgradedWait::traffic);
  }
  while (wants_input()) {
    const auto event = codec_.next(input);
    if (event.kind == WebSocketEvent::Kind::need_more) break;
    handle(event);
  }
  return state_ == State::closed ? std::string_view() : input;
}

void WebSocketSession::handle(const WebSocketEvent& event) {
  switch (event.kind) {
    case WebSocketEvent::Kind::need_more:
    case WebSocketEvent::Kind::pong:
      return;
    case WebSocketEvent::Kind::text:
      if (state_ == State::open) receiver_.message(MessageKind::text, event.data);
      return;
    case WebSocketEvent::Kind::binary:
      if (state_ == State::open) receiver_.message(MessageKind::binary, event.data);
      return;
    case WebSocketEvent::Kind::ping:
      return answer_ping(event.data);
    case WebSocketEvent::Kind::close:
      return answer_close(event);
    case WebSocketEvent::Kind::failure:
      log_debug("a WebSocket is closed with {}: {}", event.code, event.data);
      if (state_ == State::open) send_close(event.code, event.data);
      return end(event.code, event.data);
  }
}

void WebSocketSession::answer_ping(std::string_view payload) {
  if (state_ != State::open) return;
  if (transport_.unsent() > 0) {
    unanswered_ping_ = payload;
    return;
  }
  if (const auto sent = transport_.send(codec_.pong(payload)); !sent) note_unsent(sent.error());
}

void WebSocketSession::answer_close(const WebSocketEvent& event) {
  if (state_ == State::open) {
    // The reason is its own, and so is the code (RFC 6455, 5.5.1).
    state_ = State::closing;
    if (const auto sent = transport_.send(codec_.close(event.code, {})); !sent) {
      note_unsent(sent.error());
    }
  }
  end(event.code, event.data);
}

/// The first half of a closing that begins here.
void WebSocketSession::send_close(int code, std::string_view reason) {
  state_ = State::closing;
  unanswered_ping_.reset();
  awaits_pong_ = false;
  if (transport_.send(codec_.close(code, reason)) && state_ == State::closing) {
    transport_.wait_for(UpgradedWait::close);
  }
}

/// Nothing more is to come.
void WebSocketSession::end(int code, std::string_view reason) {
  if (state_ == State::closed) return;
  state_ = State::closed;
  transport_.wait_for(UpgradedWait::nothing);
  transport_.end();
  tell_closed(code, reason);
}

void WebSocketSession::tell_closed(int code, std::string_view reason) {
  if (!std::exchange(is_told_closed_, true) && !is_finished_) receiver_.closed(code, reason);
}

void WebSocketSession::output_taken() {
  if (unanswered_ping_ && state_ == State::open && transport_.unsent() == 0) {
    const std::string payload = *std::exchange(unanswered_ping_, std::nullopt);
    if (!transport_.send(codec_.pong(payload))) return;
  }
  if (!is_finished_ && state_ != State::closed) receiver_.taken();
}

void WebSocketSession::lost() {
  if (state_ == State::closed) return;
  state_ = State::closed;
  tell_closed(close_abnormal, {});
}

void WebSocketSession::time_is_over(UpgradedWait what) {
  switch (what) {
    case UpgradedWait::nothing:
      return;
    case UpgradedWait::traffic:
      // Of a client that is not read nothing can be told; what it does not take has a limit too.
      if (is_paused_ || state_ != State::open) return transport_.wait_for(UpgradedWait::traffic);
      if (!transport_.send(codec_.ping({}))) return;
      awaits_pong_ = true;
      return transport_.wait_for(UpgradedWait::answer);
    case UpgradedWait::answer:
      if (is_paused_) {
        // The answer may be among what is held back.
        awaits_pong_ = false;
        return transport_.wait_for(UpgradedWait::traffic);
      }
      send_close(close_failed, "no answer to a ping");
      return end(close_abnormal, {});
    case UpgradedWait::close:
      return end(close_abnormal, {});
  }
}

void WebSocketSession::go_away() {
  if (state_ != State::open) return;
  send_close(close_restart, {});
  tell_closed(close_restart, {});
}

}  // namespace green::http
