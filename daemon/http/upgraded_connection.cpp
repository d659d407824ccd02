#include "daemon/http/upgraded_connection.h"

#include <cerrno>
#include <utility>

#include "daemon/http/connection.h"
#include "daemon/http/socket_calls.h"

namespace green::http {
namespace {

constexpr int reads_per_turn = 4;

}  // namespace

void UpgradedConnection::begin() {
  ConnectionContext& context = connection_.context_;
  context.pool.give_back(std::move(connection_.exchange_));
  if (connection_.state_ != ConnectionState::upgraded) return connection_.close();
  if (protocol_->wants_input()) read_on();
}

void UpgradedConnection::on_events(std::uint32_t events) {
  const bool is_over = (events & (EPOLLERR | EPOLLHUP)) != 0;
  if ((events & EPOLLOUT) != 0) flush();
  if (connection_.state_ != ConnectionState::upgraded) return;
  if ((events & (EPOLLIN | EPOLLRDHUP)) == 0 && !is_over) return;
  connection_.readable_ = true;
  if ((events & EPOLLRDHUP) != 0 || is_over) connection_.end_is_near_ = true;
  // Nobody would see it by reading.
  if (is_over && !protocol_->wants_input()) return connection_.lose_client(ECONNRESET);
  pump();
}

void UpgradedConnection::pump() {
  const auto may_read = [this] {
    return connection_.state_ == ConnectionState::upgraded && protocol_->wants_input();
  };
  int reads = 0;
  while (may_read()) {
    if (!connection_.read_ahead_.empty()) {
      const std::string input = std::exchange(connection_.read_ahead_, {});
      connection_.read_ahead_ = protocol_->take(input);
    } else {
      if (!connection_.readable_ || reads == reads_per_turn) break;
      ++reads;
      if (!receive()) break;
    }
  }
  if (may_read() && (connection_.readable_ || !connection_.read_ahead_.empty())) read_on();
}

bool UpgradedConnection::receive() {
  auto& buffer = connection_.context_.read_buffer;
  const auto count = receive_now(connection_.socket_.get(), buffer.data(), buffer.size());
  if (count < 0) {
    if (errno == EINTR) return true;
    connection_.readable_ = false;
    if (errno != EAGAIN && errno != EWOULDBLOCK) connection_.lose_client(errno);
    return false;
  }
  if (count == 0) {
    connection_.readable_ = false;
    connection_.lose_client(ECONNRESET);
    return false;
  }
  const auto size = static_cast<std::size_t>(count);
  // A short read took all there was: the next byte makes a new edge.
  if (size < buffer.size() && !connection_.end_is_near_) connection_.readable_ = false;
  const auto rest = protocol_->take(std::string_view(buffer.data(), size));
  if (!rest.empty()) connection_.read_ahead_.assign(rest);
  return true;
}

Result<void> UpgradedConnection::send(const Frame& frame) {
  if (connection_.state_ != ConnectionState::upgraded || is_ending_) {
    return fail(ErrorCode::unavailable, "the client is gone");
  }
  const auto sent_before = output_.sent();
  switch (output_.send(connection_.socket_.get(), frame)) {
    case OutputQueue::Status::empty:
      if (connection_.watches_writable_) note_all_taken();
      return {};
    case OutputQueue::Status::pending:
      if (connection_.watches_writable_) {
        note_progress(sent_before);
      } else {
        connection_.watch_writable(true);
        connection_.start_timeout(connection_.context_.write_timeouts);
      }
      return {};
    case OutputQueue::Status::broken:
      break;
  }
  connection_.lose_client(output_.errno_value());
  return fail(ErrorCode::unavailable, "the client is gone");
}

void UpgradedConnection::flush() {
  if (output_.empty()) return connection_.watch_writable(false);
  const auto sent_before = output_.sent();
  switch (output_.flush(connection_.socket_.get())) {
    case OutputQueue::Status::broken:
      return connection_.lose_client(output_.errno_value());
    case OutputQueue::Status::pending:
      note_progress(sent_before);
      break;
    case OutputQueue::Status::empty:
      note_all_taken();
      if (is_ending_) return connection_.linger();
      break;
  }
  protocol_->output_taken();
}

void UpgradedConnection::note_progress(std::uint64_t sent_before) {
  if (output_.sent() != sent_before) {
    connection_.start_timeout(connection_.context_.write_timeouts);
  }
  if (output_.wants_turn()) connection_.ask_for_writable();
}

void UpgradedConnection::note_all_taken() {
  connection_.watch_writable(false);
  start_wait();
}

void UpgradedConnection::read_on() { connection_.context_.reactor.defer(connection_); }

void UpgradedConnection::wait_for(UpgradedWait what) {
  awaited_ = what;
  if (connection_.state_ == ConnectionState::upgraded && output_.empty()) start_wait();
}

void UpgradedConnection::start_wait() {
  ConnectionContext& context = connection_.context_;
  switch (awaited_) {
    case UpgradedWait::traffic:
      if (context.limits.websocket_ping_interval.count() == 0) break;
      return connection_.start_timeout(context.ping_timeouts);
    case UpgradedWait::answer:
      if (context.limits.websocket_ping_timeout.count() == 0) break;
      return connection_.start_timeout(context.pong_timeouts);
    case UpgradedWait::close:
      return connection_.start_timeout(context.draining ? context.linger_timeouts
                                                        : context.closing_timeouts);
    case UpgradedWait::nothing:
      break;
  }
  connection_.cancel_timeout();
}

void UpgradedConnection::on_timeout() {
  if (!output_.empty()) return connection_.lose_client(ETIMEDOUT);
  protocol_->time_is_over(awaited_);
}

void UpgradedConnection::go_away() {
  is_going_ = true;
  protocol_->go_away();
}

void UpgradedConnection::end() {
  if (connection_.state_ != ConnectionState::upgraded) return;
  is_ending_ = true;
  if (output_.empty()) connection_.linger();
}

bool UpgradedConnection::let_go() {
  if (connection_.state_ != ConnectionState::abandoned) {
    connection_.state_ = ConnectionState::abandoned;
    connection_.cancel_timeout();
    connection_.drop_socket();
    output_.clear();
    protocol_->lost();
  }
  // The application may have finished from within.
  return connection_.state_ != ConnectionState::closed && !connection_.in_call_ &&
         !protocol_->is_in_use();
}

void UpgradedConnection::released() {
  if (connection_.state_ == ConnectionState::abandoned) connection_.close();
}

}  // namespace green::http
