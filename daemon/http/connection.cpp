// How a connection ends is in connection_end.cpp, what becomes of a body in connection_body.cpp.
#include "daemon/http/connection.h"

#include <cerrno>

#include "common/log.h"
#include "common/scoreboard.h"
#include "daemon/http/proxy_protocol.h"
#include "daemon/http/socket_calls.h"
#include "daemon/http/stuck_call.h"

namespace green::http {
namespace {

constexpr std::uint32_t read_events = EPOLLIN | EPOLLRDHUP | EPOLLET;
constexpr int reads_per_turn = 4;
constexpr std::uint32_t longest_linger = 1 << 20;

}  // namespace

Connection::Connection(ConnectionContext& context, Fd socket, Endpoints endpoints)
    : context_(context), socket_(std::move(socket)), endpoints_(std::move(endpoints)) {
  const Limits& limits = context_.limits;
  awaits_proxy_header_ =
      limits.proxy_protocol && limits.trusted_peers.trusts_peer(endpoints_.remote_address);
}

Connection::~Connection() {
  let_go_held();
  drop_announced();
  if (socket_) context_.reactor.remove(socket_.get(), *this);
}

Result<void> Connection::open() {
  if (auto added = context_.reactor.add(socket_.get(), read_events, *this); !added) return added;
  context_.observer.connection_opened();
  start_timeout(context_.head_timeouts);
  return {};
}

void Connection::start_timeout(TimeoutList& list) {
  // The application may have taken its time since the clock was read.
  if (in_call_) context_.reactor.refresh_now();
  list.start(*this, context_.reactor.now_usec());
}

void Connection::on_events(std::uint32_t events) {
  if (state_ == ConnectionState::abandoned) return linger_given_up();
  if (state_ == ConnectionState::upgraded) return upgraded_->on_events(events);
  const bool is_over = (events & (EPOLLERR | EPOLLHUP)) != 0;
  if (is_over && !is_reading()) return lose_client(ECONNRESET);
  if ((events & EPOLLOUT) != 0) on_writable();
  if ((events & (EPOLLIN | EPOLLRDHUP)) != 0 || is_over) {
    readable_ = true;
    if ((events & EPOLLRDHUP) != 0 || is_over) note_input_end();
    requests_this_turn_ = 0;
    pump();
  }
}

/// A request that begins here, and comes as it is: anything else is on_events()'s alone.
void Connection::before_events(std::uint32_t events) {
  if (events == EPOLLIN && state_ == ConnectionState::idle && read_ahead_.empty())
    arrived_ = context_.arrivals.read(socket_.get(), context_.reactor.turn_number());
}

void Connection::note_input_end() {
  end_is_near_ = true;
  if (state_ == ConnectionState::calling) exchange_->note_change();
}

void Connection::run_deferred() {
  if (state_ == ConnectionState::upgraded) return upgraded_->pump();
  requests_this_turn_ = 0;
  pump();
}

/// Reads and answers until there is nothing to read, the application or the client is not done with
/// a reply, or others should have their turn.
void Connection::pump() {
  int reads = 0;
  while (is_reading()) {
    if (!read_ahead_.empty()) {
      if (requests_this_turn_ >= context_.limits.requests_per_turn) break;
      const std::string input = std::exchange(read_ahead_, {});
      read_ahead_ = consume(input);
    } else {
      if (!readable_ || reads == reads_per_turn) break;
      ++reads;
      if (!receive()) break;
    }
  }
  if (is_reading() && (readable_ || !read_ahead_.empty())) context_.reactor.defer(*this);
}

bool Connection::receive() {
  if (!arrived_.bytes.empty()) {
    const auto arrived = std::exchange(arrived_, {});
    return take_bytes(arrived.bytes, arrived.is_all);
  }
  auto& buffer = context_.read_buffer;
  const auto count = receive_now(socket_.get(), buffer.data(), buffer.size());
  if (count < 0) {
    if (errno == EINTR) return true;
    readable_ = false;
    if (errno != EAGAIN && errno != EWOULDBLOCK) lose_client(errno);
    return false;
  }
  if (count == 0) {
    readable_ = false;
    input_is_over();
    return false;
  }
  const auto size = static_cast<std::size_t>(count);
  return take_bytes({buffer.data(), size}, size < buffer.size());
}

bool Connection::take_bytes(std::string_view bytes, bool is_all) {
  // A short read took all there was: the next byte makes a new edge.
  if (is_all && !end_is_near_) readable_ = false;
  if (state_ == ConnectionState::lingering) {
    lingered_ += static_cast<std::uint32_t>(bytes.size());
    if (lingered_ > longest_linger) close();
    return state_ != ConnectionState::closed;
  }
  const auto rest = consume(bytes);
  if (!rest.empty()) read_ahead_.assign(rest);
  return true;
}

/// Whether the header is whole and off the input.
bool Connection::take_proxy_header(std::string_view& input) {
  const std::size_t before = proxy_header_ ? proxy_header_->size() : 0;
  if (proxy_header_) proxy_header_->append(input);
  auto read = read_proxy_header(proxy_header_ ? *proxy_header_ : input);
  switch (read.status) {
    case ProxyHeaderRead::Status::need_more:
      if (!proxy_header_) proxy_header_ = std::make_unique<std::string>(input);
      return false;
    case ProxyHeaderRead::Status::malformed:
      // Nothing that follows can be told apart from a forged origin: no reply either.
      log_debug("{}: a connection without a valid PROXY header was closed",
                endpoints_.remote_address);
      close();
      return false;
    case ProxyHeaderRead::Status::complete:
      break;
  }
  input.remove_prefix(read.consumed - before);
  proxy_header_.reset();
  awaits_proxy_header_ = false;
  peer_is_known_ = read.header.origin != ProxyHeader::Origin::unknown;
  if (read.header.origin == ProxyHeader::Origin::address) {
    endpoints_ = {.remote_address = std::move(read.header.source_address),
                  .remote_port = std::move(read.header.source_port),
                  .local_address = std::move(read.header.destination_address),
                  .local_port = std::move(read.header.destination_port)};
  }
  return true;
}

/// Returns what is left over while the next request has to wait.
std::string_view Connection::consume(std::string_view input) {
  if (awaits_proxy_header_ && !take_proxy_header(input)) return {};
  while (!input.empty()) {
    if (state_ == ConnectionState::lingering || state_ == ConnectionState::closed) return {};
    if (!is_reading() || requests_this_turn_ >= context_.limits.requests_per_turn) return input;
    if (!exchange_) begin_request();
    const auto body_before = exchange_->body().size();
    const auto step = exchange_->parser().feed(input);
    input.remove_prefix(step.consumed);
    switch (step.progress) {
      case RequestParser::Progress::need_more:
        if (state_ == ConnectionState::idle) {
          state_ = ConnectionState::reading_head;
          begun_usec_ = context_.reactor.now_usec();
          start_timeout(context_.head_timeouts);
        } else {
          note_body(exchange_->body().size() - body_before);
        }
        break;
      case RequestParser::Progress::head:
        if (state_ == ConnectionState::idle) begun_usec_ = context_.reactor.now_usec();
        begin_body(!input.empty());
        break;
      case RequestParser::Progress::complete:
        if (has_answerer()) {
          body_arrived();
          break;
        }
        is_followed_ = !input.empty();
        call_application();
        break;
      case RequestParser::Progress::rejected:
        body_failed(exchange_->parser().rejection());
        return {};
    }
  }
  if (state_ == ConnectionState::reading_body && exchange_->body().is_streamed()) {
    is_followed_ = true;
    call_application();
  }
  return {};
}

void Connection::begin_request() {
  exchange_ = context_.pool.take();
  exchange_->attach(*this);
}

void Connection::call_application() {
  ++requests_this_turn_;
  state_ = ConnectionState::calling;
  cancel_timeout();
  watch_body_time();
  exchange_->open(endpoints_, peer_is_known_);
  has_served_ = counted_ = in_call_ = true;
  is_unlogged_ = context_.access_log != nullptr;
  begun_usec_ = context_.reactor.now_usec();
  context_.held.before_call(begun_usec_);
  context_.observer.call_begins(begun_usec_, exchange_->request());
  publish();
  context_.application.call(*exchange_);
  withdraw_call();
  context_.observer.call_ended();
  in_call_ = false;
  context_.reactor.refresh_now();
  if (take_answered() && is_unlogged_) log_access(504);
  if (exchange_->is_finished()) settle();
}

void Connection::publish() {
  if (in_call_) {
    drop_announced();  // by who begins at once all the same
  } else {
    step_began_usec_ = context_.reactor.now_usec();
    context_.held.step_begins(std::exchange(announced_, 0));
  }
  // What is still on its way (100 Continue) may not be torn apart by a handler.
  if (state_ == ConnectionState::calling && exchange_->output().empty())
    publish_call(socket_.get(), exchange_->request().method == "HEAD");
}

void Connection::refuse(const Rejection& rejection) {
  is_refused_ = true;
  state_ = ConnectionState::calling;
  cancel_timeout();
  is_unlogged_ = context_.access_log != nullptr;
  begun_usec_ = context_.reactor.now_usec();
  exchange_->refuse(rejection, endpoints_);
}

Result<void> Connection::send(const Frame& frame) {
  if (!client_connected()) return fail(ErrorCode::unavailable, "the client is gone");
  withdraw_call();
  const auto sent_before = exchange_->output().sent();
  return after_sending(exchange_->output().send(socket_.get(), frame), sent_before);
}

Result<void> Connection::send_file(const Frame& frame, FilePart part) {
  if (!client_connected()) return fail(ErrorCode::unavailable, "the client is gone");
  withdraw_call();
  const auto sent_before = exchange_->output().sent();
  return after_sending(exchange_->output().send_file(socket_.get(), frame, std::move(part)),
                       sent_before);
}

Result<void> Connection::after_sending(OutputQueue::Status status, std::uint64_t sent_before) {
  // Until all of it is on its way: whatever ends us before that, this process's death included.
  if (exchange_->reply().ends_by_close()) reset_on_close(true);
  switch (status) {
    case OutputQueue::Status::empty:
      if (watches_writable_) note_all_taken();
      return {};
    case OutputQueue::Status::pending:
      if (watches_writable_) {
        note_progress(sent_before);
      } else {
        watch_writable(true);
        start_timeout(context_.write_timeouts);
      }
      return {};
    case OutputQueue::Status::broken:
      break;
  }
  lose_client(exchange_->output().errno_value());
  return fail(ErrorCode::unavailable, "the client is gone");
}

bool Connection::may_keep_alive() const {
  return !context_.draining && context_.limits.keepalive.count() > 0;
}

bool Connection::client_connected() const {
  return state_ != ConnectionState::abandoned && state_ != ConnectionState::closed;
}

void Connection::reply_finished(bool) {
  if (in_call_) return;
  settle();
  // What waited for this reply is not answered from within the application's finish().
  if (is_reading() && (readable_ || !read_ahead_.empty())) context_.reactor.defer(*this);
}

/// The application is done with the exchange.
void Connection::settle() {
  drop_announced();
  if (upgraded_) return upgraded_->begin();
  if (state_ == ConnectionState::abandoned) return leave_abandoned();
  if (!exchange_->is_whole()) return cut();
  if (!exchange_->parser().is_complete()) exchange_->body().drop();
  if (exchange_->output().empty() && !is_held_) return reply_sent();
  state_ = ConnectionState::sending;
}

void Connection::reply_sent() {
  reset_on_close(false);
  if (std::exchange(counted_, false)) context_.observer.request_done();
  if (is_unlogged_) log_access(exchange_->reply().status());
  const RequestParser& request = exchange_->parser();
  if (exchange_->keep_alive() && !is_refused_) {
    if (request.is_complete()) return go_idle();
    state_ = ConnectionState::skipping;
    return start_timeout(context_.body_timeouts);
  }
  // A client that asked for the close sends no more: nothing can make the kernel send a reset.
  const bool is_quiet =
      !readable_ && read_ahead_.empty() && !request.keep_alive() && request.is_complete();
  if (!is_refused_ && is_quiet) return close();
  linger();
}

void Connection::go_idle() {
  context_.pool.give_back(std::move(exchange_));
  state_ = ConnectionState::idle;
  skipped_ = 0;
  start_timeout(context_.idle_timeouts);
}

void Connection::on_writable() {
  if (!exchange_ || exchange_->output().empty()) return watch_writable(false);
  const auto sent_before = exchange_->output().sent();
  switch (exchange_->output().flush(socket_.get())) {
    case OutputQueue::Status::broken:
      return lose_client(exchange_->output().errno_value());
    case OutputQueue::Status::pending:
      note_progress(sent_before);
      return exchange_->note_change();
    case OutputQueue::Status::empty:
      break;
  }
  note_all_taken();
  if (state_ != ConnectionState::sending) return exchange_->note_change();
  reply_sent();
  requests_this_turn_ = 0;
  pump();
}

void Connection::note_progress(std::uint64_t sent_before) {
  if (exchange_->output().sent() != sent_before || !has_timeout())
    start_timeout(context_.write_timeouts);
  if (exchange_->output().wants_turn()) ask_for_writable();
}

/// Edge-triggered: asked for again, what is still writable is reported anew.
void Connection::ask_for_writable() { watch(read_events | EPOLLOUT); }

void Connection::note_all_taken() {
  watch_writable(false);
  cancel_timeout();
  if (state_ == ConnectionState::reading_body) return start_timeout(context_.body_timeouts);
  if (state_ == ConnectionState::calling) watch_body_time();
}

void Connection::watch_writable(bool wanted) {
  if (wanted == watches_writable_ || !socket_) return;
  if (watch(wanted ? read_events | EPOLLOUT : read_events)) watches_writable_ = wanted;
}

bool Connection::watch(std::uint32_t events) {
  auto changed = context_.reactor.modify(socket_.get(), events, *this);
  if (!changed) {
    context_.reactor.fail(std::move(changed.error())
                              .context("a connection's descriptor is unusable (was it closed by "
                                       "the application?)"));
  }
  return changed.has_value();
}

}  // namespace green::http
