// Connection: how it ends. Its time is over; the server drains; its application was given up, so
// that the client gets a 504 or is cut off; it lingers after a last reply; the client went away; it
// is closed. Loop thread.
#include <sys/socket.h>

#include <cerrno>
#include <utility>

#include "common/scoreboard.h"
#include "daemon/http/connection.h"
#include "daemon/http/socket_calls.h"
#include "daemon/http/stuck_call.h"

namespace green::http {
namespace {

constexpr int most_reads = 4;
constexpr std::uint32_t longest_lingering = 1 << 20;
constexpr Rejection body_timed_out{408, "the request's body stopped coming"};

}  // namespace

void Connection::on_timeout() {
  // What is awaited may just have come, to a loop that was busy with others or that did not tell of
  // all in one turn.
  const ConnectionState before = state_;
  if (is_reading() && !watches_writable_ && before != ConnectionState::lingering) {
    readable_ = true;
    requests_this_turn_ = 0;
    pump();
    if (state_ != before || has_timeout()) return;
  }
  switch (state_) {
    case ConnectionState::idle:
      return close();
    case ConnectionState::reading_head:
      if (!exchange_->parser().has_begun()) return close();
      return refuse({408, "the request's head took too long"});
    case ConnectionState::reading_body:
      return refuse(body_timed_out);
    case ConnectionState::calling:
      if (!watches_writable_) return body_failed(body_timed_out);
      return lose_client(ETIMEDOUT);
    case ConnectionState::sending:
      return lose_client(ETIMEDOUT);
    case ConnectionState::skipping:
    case ConnectionState::lingering:
      return close();
    case ConnectionState::abandoned:
      return leave_given_up();
    case ConnectionState::upgraded:
      return upgraded_->on_timeout();
    case ConnectionState::closed:
      return;
  }
}

void Connection::drain() {
  // One that never sent a request is as any other that is idle; it has no longer than these.
  if (state_ == ConnectionState::idle && !has_served_)
    start_timeout(context_.first_request_timeouts);
  const bool is_leaving =
      state_ == ConnectionState::lingering || state_ == ConnectionState::skipping;
  if (is_leaving && context_.hurried) start_timeout(context_.short_linger_timeouts);
}

bool Connection::can_close_early() const {
  return state_ == ConnectionState::idle ||
         (state_ == ConnectionState::upgraded && upgraded_->can_go());
}

void Connection::close_early() {
  if (state_ == ConnectionState::upgraded) return upgraded_->go_away();
  if (state_ != ConnectionState::idle) return;
  readable_ = true;
  requests_this_turn_ = 0;
  pump();
  if (state_ == ConnectionState::idle) close();
}

void Connection::give_up(SentSoFar sent) {
  if (state_ == ConnectionState::abandoned) return leave_given_up();  // the client went by itself
  if (state_ != ConnectionState::calling) return;
  if (sent == SentSoFar::timeout_reply) return leave_to_application(true, 504);
  const auto reply = timeout_reply(exchange_->request().method == "HEAD");
  abandon(sent == SentSoFar::nothing ? reply : std::string_view(), 504);
}

void Connection::abandon(std::string_view reply, int status) {
  const bool nothing_sent = !exchange_->head_sent();
  const bool can_answer = !reply.empty() && nothing_sent && exchange_->output().empty();
  const bool is_answered =
      can_answer && send_now(socket_.get(), reply) == static_cast<ssize_t>(reply.size());
  leave_to_application(is_answered, nothing_sent ? status : exchange_->reply().status());
}

void Connection::leave_to_application(bool is_answered, int status) {
  state_ = ConnectionState::abandoned;
  cancel_timeout();
  exchange_->output().clear();
  read_ahead_ = {};
  if (is_unlogged_) log_access(status);
  if (!is_answered || shutdown(socket_.get(), SHUT_WR) != 0) {
    reset_on_close(true);
    return leave_given_up();
  }
  start_timeout(context_.linger_timeouts);
  linger_given_up();
}

void Connection::log_access(int status) {
  is_unlogged_ = false;
  const ResponseWriter& reply = exchange_->reply();
  const std::uint64_t now = monotonic_usec();
  context_.access_log->write({.request = exchange_->request(),
                              .status = status,
                              .bytes = reply.body_bytes(),
                              .duration_usec = now > begun_usec_ ? now - begun_usec_ : 0,
                              .reply_head = reply.head()});
}

/// Reads on for a while, so that the client sees its 504 and not a reset.
void Connection::linger_given_up() {
  auto& buffer = context_.read_buffer;
  for (int i = 0; i < most_reads; ++i) {
    const auto count = receive_now(socket_.get(), buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
    if (count > 0) lingered_ += static_cast<std::uint32_t>(count);
    if (count <= 0 || lingered_ > longest_lingering) return leave_given_up();
  }
}

void Connection::leave_given_up() {
  if (std::exchange(is_given_up_, true)) return;
  cancel_timeout();
  let_go_held();
  if (socket_) context_.reactor.remove(socket_.get(), *this);
  socket_.reset();
  ++context_.given_up;
  context_.has_given_up();
}

void Connection::leave_abandoned() {
  // What it sends still would make the end a reset, which may overtake the refusal.
  if (!is_refused_ || !socket_) return close();
  if (std::exchange(counted_, false)) context_.observer.request_done();
  linger();
}

void Connection::linger() {
  if (exchange_) context_.pool.give_back(std::move(exchange_));
  read_ahead_ = {};
  state_ = ConnectionState::lingering;
  lingered_ = 0;
  if (shutdown(socket_.get(), SHUT_WR) != 0) return close();
  start_timeout(context_.hurried ? context_.short_linger_timeouts : context_.linger_timeouts);
  readable_ = true;
  context_.reactor.defer(*this);
}

void Connection::lose_client(int errno_value) {
  if (errno_value == EBADF || errno_value == ENOTSOCK) {
    context_.reactor.fail(
        Error::from_errno("a connection's descriptor is unusable (was it closed by the "
                          "application?)",
                          errno_value));
    socket_.release();  // not ours any more: closing it could close another's
  }
  if (state_ == ConnectionState::calling) {
    // The exchange is in use: settle() closes once it is finished.
    state_ = ConnectionState::abandoned;
    cancel_timeout();
    exchange_->output().clear();
    let_go_held();
    if (socket_) context_.reactor.remove(socket_.get(), *this);
    socket_.reset();
    exchange_->note_change();
    return;
  }
  close();
}

void Connection::cut() {
  if (exchange_->output().empty()) reset_on_close(true);
  close();
}

void Connection::reset_on_close(bool wanted) {
  if (wanted == resets_on_close_ || !socket_) return;
  resets_on_close_ = wanted;
  const struct linger how{.l_onoff = wanted ? 1 : 0, .l_linger = 0};
  setsockopt(socket_.get(), SOL_SOCKET, SO_LINGER, &how, sizeof how);
}

void Connection::drop_socket() {
  let_go_held();
  if (socket_) context_.reactor.remove(socket_.get(), *this);
  socket_.reset();
  read_ahead_ = {};
}

void Connection::close() {
  if (state_ == ConnectionState::closed) return;
  if (upgraded_ && !upgraded_->let_go()) return;
  state_ = ConnectionState::closed;
  cancel_timeout();
  if (std::exchange(counted_, false)) context_.observer.request_done();
  if (is_unlogged_) log_access(exchange_->reply().status());
  drop_socket();
  if (exchange_) context_.pool.give_back(std::move(exchange_));
  if (std::exchange(is_given_up_, false)) --context_.given_up;
  context_.observer.connection_closed();
  context_.retire(*this);
}

}  // namespace green::http
