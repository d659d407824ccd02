// Connection: a reply that leaves with those of others, a little later. Loop thread.
#include <utility>

#include "daemon/http/connection.h"
#include "daemon/http/stuck_call.h"

namespace green::http {

Result<void> Connection::send_last(const Frame& frame) {
  // The next request of its client would wait with it, or the end that tells that it is whole.
  const bool may_wait = !is_followed_ && exchange_->keep_alive() && !is_refused_ &&
                        exchange_->output().empty() &&
                        (in_call_ ? context_.held.may_hold(frame.size(), begun_usec_)
                                  : context_.held.may_hold_in_step(frame.size(), step_began_usec_));
  if (!may_wait) return send(frame);
  if (!client_connected()) return fail(ErrorCode::unavailable, "the client is gone");
  withdraw_call();
  context_.held.hold(*this, socket_.get(), frame);
  is_held_ = true;
  return {};
}

void Connection::send_held(std::string_view rest) {
  is_held_ = false;
  const Frame frame{.before = rest, .data = {}, .after = {}};
  if (!rest.empty() && !send(frame)) return;
  if (state_ != ConnectionState::sending || !exchange_->output().empty()) return;
  reply_sent();
  if (is_reading() && (readable_ || !read_ahead_.empty())) context_.reactor.defer(*this);
}

void Connection::announce() {
  if (announced_ == 0) announced_ = context_.held.announce_call();
}

void Connection::drop_announced() {
  if (announced_ != 0) context_.held.call_dropped(std::exchange(announced_, 0));
}

void Connection::let_go_held() {
  if (std::exchange(is_held_, false)) context_.held.let_go(*this);
}

}  // namespace green::http
