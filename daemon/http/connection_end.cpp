// Connection: how it ends. Its application was given up, so that the client gets a 504 or is cut
// off; it lingers after a last reply; the client went away; it is closed. Loop thread.
#include <sys/socket.h>

#include <cerrno>
#include <utility>

#include "daemon/http/connection.h"
#include "daemon/http/stuck_call.h"

namespace green::http {
namespace {

constexpr int most_reads = 4;
constexpr std::uint32_t longest_lingering = 1 << 20;

}  // namespace

void Connection::give_up(bool nothing_sent) {
  if (state_ == ConnectionState::abandoned) return leave_given_up();  // the client went by itself
  if (state_ != ConnectionState::calling) return;
  state_ = ConnectionState::abandoned;
  cancel_timeout();
  const bool can_answer = nothing_sent && exchange_->output().empty();
  exchange_->output().clear();
  read_ahead_ = {};
  const auto reply = timeout_reply(exchange_->request().method == "HEAD");
  const bool is_answered =
      can_answer && ::send(socket_.get(), reply.data(), reply.size(),
                           MSG_NOSIGNAL | MSG_DONTWAIT) == static_cast<ssize_t>(reply.size());
  if (!is_answered || shutdown(socket_.get(), SHUT_WR) != 0) {
    // Only a reset tells the client that what it has is not whole.
    const struct linger at_once{.l_onoff = 1, .l_linger = 0};
    setsockopt(socket_.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    return leave_given_up();
  }
  start_timeout(context_.linger_timeouts);
  linger_given_up();
}

/// Reads on for a while, so that the client sees its 504 and not a reset.
void Connection::linger_given_up() {
  auto& buffer = context_.read_buffer;
  for (int i = 0; i < most_reads; ++i) {
    const auto count = recv(socket_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
    if (count > 0) lingered_ += static_cast<std::uint32_t>(count);
    if (count <= 0 || lingered_ > longest_lingering) return leave_given_up();
  }
}

void Connection::leave_given_up() {
  if (std::exchange(is_given_up_, true)) return;
  cancel_timeout();
  if (socket_) context_.reactor.remove(socket_.get(), *this);
  socket_.reset();
  ++context_.given_up;
  context_.has_given_up();
}

void Connection::linger() {
  context_.pool.give_back(std::move(exchange_));
  read_ahead_ = {};
  state_ = ConnectionState::lingering;
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
    if (socket_) context_.reactor.remove(socket_.get(), *this);
    socket_.reset();
    return;
  }
  close();
}

void Connection::cut() {
  // Without a length or chunks only a reset tells the client that the reply is not whole.
  const struct linger at_once{.l_onoff = 1, .l_linger = 0};
  if (exchange_->output().empty()) {
    setsockopt(socket_.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  }
  close();
}

void Connection::close() {
  if (state_ == ConnectionState::closed) return;
  state_ = ConnectionState::closed;
  cancel_timeout();
  if (std::exchange(counted_, false)) context_.observer.request_done();
  if (socket_) context_.reactor.remove(socket_.get(), *this);
  socket_.reset();
  read_ahead_ = {};
  if (exchange_) context_.pool.give_back(std::move(exchange_));
  if (std::exchange(is_given_up_, false)) --context_.given_up;
  context_.observer.connection_closed();
  context_.retire(*this);
}

}  // namespace green::http
