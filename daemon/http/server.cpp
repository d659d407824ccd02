#include "daemon/http/server.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "common/high_fd.h"
#include "common/log.h"
#include "common/scoreboard.h"
#include "daemon/http/connection.h"
#include "daemon/http/endpoints.h"

namespace green::http {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// While we may not accept, or have no descriptors left to accept with.
constexpr auto short_pause = milliseconds(20);
/// A worker that was woken for a connection and may not take it any more has used up the wake-up
/// (EPOLLEXCLUSIVE): each looks by itself now and then, and often at first, as its predecessors
/// stop.
constexpr auto first_looks = seconds(3);
constexpr auto first_look_interval = milliseconds(50);
constexpr auto look_interval = seconds(1);
/// As drain_late and drain_latest, where somebody waits for the end.
constexpr std::chrono::microseconds prompt_late = milliseconds(500);
constexpr std::chrono::microseconds prompt_latest = seconds(1);
/// In how many steps idle connections are closed.
constexpr std::uint64_t closing_steps = 32;
constexpr std::uint64_t shortest_step_usec = 20'000;

/// How long a server with more connections than others leaves new ones to them.
constexpr auto rest = milliseconds(1);
constexpr int longest_rest = 5;

class ServerImpl;

struct Listener final : EventHandler {
  Listener(ServerImpl& the_server, Fd the_socket)
      : server(the_server), socket(std::move(the_socket)) {}
  void on_events(std::uint32_t events) override;

  ServerImpl& server;
  Fd socket;
  bool is_watched = false;
};

class ServerImpl final : public Server, Deferred {
 public:
  ServerImpl(Reactor& reactor, Application& application, ServerObserver& observer, Limits limits)
      : context_(reactor, application, observer, std::move(limits)) {
    context_.retire = [this](Connection& connection) { retire(connection); };
    context_.has_given_up = [this] { context_.reactor.defer(*this); };
  }
  ~ServerImpl() override;

  Result<void> add_listener(Fd listener) override;
  Result<void> start_accepting() override;
  void stop_accepting() override;
  void drain(std::function<void()> on_drained, DrainPace pace) override;
  void hurry() override;
  bool draining() const override { return context_.draining; }
  Result<void> adopt(Fd socket) override;
  std::size_t connection_count() const override { return connections_.size(); }

  void accept_some(Listener& listener);

 private:
  enum class Acceptance {
    stopped,
    accepting,
    paused,  ///< for a moment
    full,    ///< until a connection closes
  };

  void run_deferred() override;
  void retire(Connection& connection);
  bool accept_one(Listener& listener);
  void take_rest(int left);
  void handle_accept_error(Listener& listener, int error);
  Result<void> serve(Fd socket, const sockaddr_storage& peer, socklen_t peer_length);
  Result<void> watch(Listener& listener);
  void unwatch_all();
  void pause();
  void wait_for_room();
  void accept_again();
  void close_idle_between(std::chrono::microseconds late, std::chrono::microseconds latest);
  void close_some_idle();
  void look();
  void schedule_look();
  /// Whether a warning that can come by the thousand is to be logged now.
  bool is_due(std::uint64_t& last_usec);

  ConnectionContext context_;
  Acceptance acceptance_ = Acceptance::stopped;
  std::vector<std::unique_ptr<Listener>> listeners_;
  std::vector<std::unique_ptr<Connection>> connections_;
  std::vector<std::unique_ptr<Connection>> retired_;
  Reactor::TimerId look_timer_ = 0;
  Reactor::TimerId rest_timer_ = 0;
  std::uint64_t accepting_since_usec_ = 0;
  std::uint64_t last_shortage_usec_ = 0;
  std::uint64_t last_full_usec_ = 0;
  std::function<void()> on_drained_;
  Reactor::TimerId closing_timer_ = 0;
  std::uint64_t closing_step_usec_ = 0;
  std::uint64_t closed_at_usec_ = 0;  ///< when the last idle connection shall be closed
};

void Listener::on_events(std::uint32_t) { server.accept_some(*this); }

ServerImpl::~ServerImpl() {
  if (look_timer_ != 0) context_.reactor.cancel(look_timer_);
  if (closing_timer_ != 0) context_.reactor.cancel(closing_timer_);
  unwatch_all();
}

Result<void> ServerImpl::add_listener(Fd socket) {
  const int flags = fcntl(socket.get(), F_GETFL);
  if (flags < 0 || fcntl(socket.get(), F_SETFL, flags | O_NONBLOCK) != 0) {
    return fail_errno(fmt::format("making listener {} non-blocking", socket.get()));
  }
  // Accepted sockets inherit it; on a unix socket there is none to set.
  const int on = 1;
  if (setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0 &&
      errno != EOPNOTSUPP && errno != ENOPROTOOPT) {
    return fail_errno(fmt::format("setting TCP_NODELAY on listener {}", socket.get()));
  }
  listeners_.push_back(std::make_unique<Listener>(*this, std::move(socket)));
  if (acceptance_ != Acceptance::accepting) return {};
  return watch(*listeners_.back());
}

Result<void> ServerImpl::watch(Listener& listener) {
  if (listener.is_watched) return {};
  auto added = context_.reactor.add(listener.socket.get(), EPOLLIN | EPOLLEXCLUSIVE, listener);
  listener.is_watched = added.has_value();
  return added;
}

void ServerImpl::unwatch_all() {
  if (rest_timer_ != 0) context_.reactor.cancel(std::exchange(rest_timer_, 0));
  for (auto& listener : listeners_) {
    if (!listener->is_watched) continue;
    context_.reactor.remove(listener->socket.get(), *listener);
    listener->is_watched = false;
  }
}

Result<void> ServerImpl::start_accepting() {
  if (context_.draining) return fail(ErrorCode::cancelled, "the server is draining");
  acceptance_ = Acceptance::accepting;
  accepting_since_usec_ = context_.reactor.now_usec();
  for (auto& listener : listeners_) {
    if (auto watched = watch(*listener); !watched) return watched;
  }
  schedule_look();
  return {};
}

void ServerImpl::stop_accepting() {
  if (acceptance_ == Acceptance::accepting) {
    for (auto& listener : listeners_) accept_some(*listener);
  }
  if (look_timer_ != 0) context_.reactor.cancel(std::exchange(look_timer_, 0));
  unwatch_all();
  acceptance_ = Acceptance::stopped;
  // Not destroyed before this turn's events are through: one of them may be calling us.
  for (auto& listener : listeners_) listener->socket.reset();
}

void ServerImpl::pause() {
  if (acceptance_ != Acceptance::accepting) return;
  acceptance_ = Acceptance::paused;
  unwatch_all();
  schedule_look();
}

void ServerImpl::wait_for_room() {
  acceptance_ = Acceptance::full;
  unwatch_all();
  if (look_timer_ != 0) context_.reactor.cancel(std::exchange(look_timer_, 0));
  if (is_due(last_full_usec_)) {
    log_warning("{} connections are open, as many as worker_connections allows: others wait",
                connections_.size());
  }
}

void ServerImpl::accept_again() {
  acceptance_ = Acceptance::accepting;
  for (auto& listener : listeners_) {
    if (auto watched = watch(*listener); !watched) {
      return context_.reactor.fail(std::move(watched.error()));
    }
  }
}

bool ServerImpl::is_due(std::uint64_t& last_usec) {
  constexpr std::uint64_t log_interval_usec = 10'000'000;
  const auto now = context_.reactor.now_usec();
  if (last_usec != 0 && now - last_usec <= log_interval_usec) return false;
  last_usec = now;
  return true;
}

void ServerImpl::schedule_look() {
  if (look_timer_ != 0) context_.reactor.cancel(look_timer_);
  std::chrono::microseconds delay = short_pause;
  if (acceptance_ == Acceptance::accepting) {
    const auto age = context_.reactor.now_usec() - accepting_since_usec_;
    const bool is_young = std::chrono::microseconds(age) < first_looks;
    delay = is_young ? std::chrono::microseconds(first_look_interval) : look_interval;
  }
  look_timer_ = context_.reactor.call_after(delay, [this] {
    look_timer_ = 0;
    look();
  });
}

void ServerImpl::look() {
  if (acceptance_ == Acceptance::paused && context_.observer.may_accept()) accept_again();
  if (acceptance_ == Acceptance::accepting && rest_timer_ == 0) {
    for (auto& listener : listeners_) accept_some(*listener);
  }
  if (acceptance_ == Acceptance::accepting || acceptance_ == Acceptance::paused) schedule_look();
}

void ServerImpl::accept_some(Listener& listener) {
  Share share = Share::alone;
  for (int i = 0; i < context_.limits.accepts_per_turn && share != Share::large; ++i) {
    if (acceptance_ != Acceptance::accepting) return;
    if (connections_.size() >= context_.limits.connections) return wait_for_room();
    if (!context_.observer.may_accept()) return pause();
    if (!accept_one(listener)) break;
    share = context_.observer.share();
  }
  if (share == Share::alone || acceptance_ != Acceptance::accepting) return;
  // The kernel wakes the one that waits longest on a listener, which is the same one each time it
  // is idle. So we go to the end of that queue; with more connections than others, after a rest.
  // What came meanwhile is reported when we are back.
  unwatch_all();
  if (share == Share::large) {
    take_rest(longest_rest);
  } else {
    accept_again();
  }
}

void ServerImpl::take_rest(int left) {
  rest_timer_ = context_.reactor.call_after(rest, [this, left] {
    rest_timer_ = 0;
    // Others were woken for what waits, and may not have had a processor yet.
    if (left > 1 && context_.observer.share() == Share::large) return take_rest(left - 1);
    accept_again();
  });
}

bool ServerImpl::accept_one(Listener& listener) {
  sockaddr_storage peer{};
  socklen_t length = sizeof peer;
  Fd socket(accept4(listener.socket.get(), reinterpret_cast<sockaddr*>(&peer), &length,
                    SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (!socket) {
    const int error = errno;
    if (error == EAGAIN || error == EWOULDBLOCK) return false;
    handle_accept_error(listener, error);
    return acceptance_ == Acceptance::accepting;
  }
  auto high = move_high(std::move(socket));
  auto served = high ? serve(std::move(*high), peer, length) : fail(std::move(high.error()));
  if (!served) log_warning("a connection was dropped: {}", served.error().message());
  return true;
}

void ServerImpl::handle_accept_error(Listener& listener, int error) {
  switch (error) {
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM: {
      if (is_due(last_shortage_usec_)) {
        log_warning("accepting connections waits, with {} open: {}", connections_.size(),
                    Error::from_errno("accept4", error).message());
      }
      return pause();
    }
    case EBADF:
    case EINVAL:
    case ENOTSOCK:
    case EOPNOTSUPP:
      pause();
      return context_.reactor.fail(Error::from_errno(
          fmt::format("listening descriptor {} is unusable (was it closed by the application?)",
                      listener.socket.get()),
          error));
    default:
      return;  // of that connection alone (ECONNABORTED, EPROTO, EINTR, …)
  }
}

Result<void> ServerImpl::adopt(Fd socket) {
  const int flags = fcntl(socket.get(), F_GETFL);
  if (flags < 0 || fcntl(socket.get(), F_SETFL, flags | O_NONBLOCK) != 0) {
    return fail_errno("making a connection non-blocking");
  }
  sockaddr_storage peer{};
  socklen_t length = sizeof peer;
  if (getpeername(socket.get(), reinterpret_cast<sockaddr*>(&peer), &length) != 0) {
    return fail_errno("asking for a connection's peer");
  }
  return serve(std::move(socket), peer, length);
}

Result<void> ServerImpl::serve(Fd socket, const sockaddr_storage& peer, socklen_t peer_length) {
  auto endpoints = make_endpoints(socket.get(), peer, peer_length);
  auto connection = std::make_unique<Connection>(context_, std::move(socket), std::move(endpoints));
  if (auto opened = connection->open(); !opened) return opened;
  connection->index_in_server = connections_.size();
  connections_.push_back(std::move(connection));
  return {};
}

void ServerImpl::retire(Connection& connection) {
  const auto index = connection.index_in_server;
  retired_.push_back(std::move(connections_[index]));
  if (index + 1 != connections_.size()) {
    connections_[index] = std::move(connections_.back());
    connections_[index]->index_in_server = index;
  }
  connections_.pop_back();
  context_.reactor.defer(*this);
}

void ServerImpl::drain(std::function<void()> on_drained, DrainPace pace) {
  on_drained_ = std::move(on_drained);
  if (!context_.draining) {
    stop_accepting();
    context_.draining = true;
    for (auto& connection : connections_) connection->drain();
    close_idle_between(context_.limits.drain_late, context_.limits.drain_latest);
  }
  if (pace == DrainPace::prompt) hurry();
  context_.reactor.defer(*this);
}

void ServerImpl::hurry() {
  if (!context_.draining || context_.hurried) return;
  context_.hurried = true;
  for (auto& connection : connections_) connection->drain();
  close_idle_between(prompt_late, prompt_latest);
}

void ServerImpl::close_idle_between(std::chrono::microseconds late,
                                    std::chrono::microseconds latest) {
  if (closing_timer_ != 0) context_.reactor.cancel(closing_timer_);
  const auto span = static_cast<std::uint64_t>((latest - late).count());
  closing_step_usec_ = std::max(shortest_step_usec, span / closing_steps);
  closed_at_usec_ = monotonic_usec() + static_cast<std::uint64_t>(latest.count());
  closing_timer_ = context_.reactor.call_after(late, [this] { close_some_idle(); });
}

/// The same share of them at each step, so that their clients do not all come back at once.
void ServerImpl::close_some_idle() {
  const auto now = monotonic_usec();
  const std::uint64_t steps_left =
      closed_at_usec_ > now ? 1 + (closed_at_usec_ - now) / closing_step_usec_ : 1;
  const auto idle =
      static_cast<std::uint64_t>(std::ranges::count_if(connections_, [](const auto& connection) {
        return connection->state() == ConnectionState::idle;
      }));
  std::uint64_t share = (idle + steps_left - 1) / steps_left;
  // Backwards: one that closes leaves its place to the last, which was looked at.
  for (std::size_t i = connections_.size(); i > 0 && share > 0; --i) {
    if (connections_[i - 1]->state() != ConnectionState::idle) continue;
    connections_[i - 1]->close_if_idle();
    --share;
  }
  const auto left = idle > steps_left ? 0 : idle - std::min<std::uint64_t>(idle, 1);
  const std::uint64_t few_apart =
      left > 0 && closed_at_usec_ > now ? (closed_at_usec_ - now) / left : 0;
  closing_timer_ = context_.reactor.call_after(
      std::chrono::microseconds(std::max(closing_step_usec_, few_apart)),
      [this] { close_some_idle(); });
}

void ServerImpl::run_deferred() {
  retired_.clear();
  if (acceptance_ == Acceptance::full && connections_.size() < context_.limits.connections) {
    // What waited was not reported anew: the look finds it.
    accept_again();
    look();
  }
  // Whoever was given up on may never return.
  if (!context_.draining || connections_.size() > context_.given_up || !on_drained_) return;
  const auto tell = std::exchange(on_drained_, nullptr);
  tell();
}

}  // namespace

std::unique_ptr<Server> Server::create(Reactor& reactor, Application& application,
                                       ServerObserver& observer, Limits limits) {
  return std::make_unique<ServerImpl>(reactor, application, observer, std::move(limits));
}

}  // namespace green::http
