#include "daemon/http/acceptor.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include <cerrno>
#include <chrono>
#include <utility>

#include "common/high_fd.h"
#include "common/log.h"

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
/// How long a server with more connections than others leaves new ones to them.
constexpr auto rest = milliseconds(1);
constexpr int longest_rest = 5;

}  // namespace

struct Acceptor::Listener final : EventHandler {
  Listener(Acceptor& the_acceptor, Fd the_socket)
      : acceptor(the_acceptor), socket(std::move(the_socket)) {}
  void on_events(std::uint32_t) override { acceptor.accept_some(*this); }

  Acceptor& acceptor;
  Fd socket;
  bool is_watched = false;
};

Acceptor::Acceptor(Reactor& reactor, ServerObserver& observer, const Limits& limits, Owner& owner)
    : reactor_(reactor), observer_(observer), limits_(limits), owner_(owner) {}

Acceptor::~Acceptor() {
  if (look_timer_ != 0) reactor_.cancel(look_timer_);
  unwatch_all();
}

Result<void> Acceptor::add_listener(Fd socket) {
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

Result<void> Acceptor::watch(Listener& listener) {
  if (listener.is_watched) return {};
  auto added = reactor_.add(listener.socket.get(), EPOLLIN | EPOLLEXCLUSIVE, listener);
  listener.is_watched = added.has_value();
  return added;
}

void Acceptor::unwatch_all() {
  if (rest_timer_ != 0) reactor_.cancel(std::exchange(rest_timer_, 0));
  for (auto& listener : listeners_) {
    if (!listener->is_watched) continue;
    reactor_.remove(listener->socket.get(), *listener);
    listener->is_watched = false;
  }
}

Result<void> Acceptor::start() {
  acceptance_ = Acceptance::accepting;
  accepting_since_usec_ = reactor_.now_usec();
  for (auto& listener : listeners_) {
    if (auto watched = watch(*listener); !watched) return watched;
  }
  schedule_look();
  return {};
}

void Acceptor::stop() {
  if (acceptance_ == Acceptance::accepting) {
    for (auto& listener : listeners_) accept_some(*listener);
  }
  if (look_timer_ != 0) reactor_.cancel(std::exchange(look_timer_, 0));
  unwatch_all();
  acceptance_ = Acceptance::stopped;
  // Not destroyed before this turn's events are through: one of them may be calling us.
  for (auto& listener : listeners_) listener->socket.reset();
}

void Acceptor::pause() {
  if (acceptance_ != Acceptance::accepting) return;
  acceptance_ = Acceptance::paused;
  unwatch_all();
  schedule_look();
}

void Acceptor::wait_for_room() {
  acceptance_ = Acceptance::full;
  unwatch_all();
  if (look_timer_ != 0) reactor_.cancel(std::exchange(look_timer_, 0));
  if (is_due(last_full_usec_)) {
    log_warning("{} connections are open, as many as worker_connections allows: others wait",
                owner_.connection_count());
  }
}

void Acceptor::accept_again() {
  acceptance_ = Acceptance::accepting;
  for (auto& listener : listeners_) {
    if (auto watched = watch(*listener); !watched) {
      return reactor_.fail(std::move(watched.error()));
    }
  }
}

bool Acceptor::is_due(std::uint64_t& last_usec) {
  constexpr std::uint64_t log_interval_usec = 10'000'000;
  const auto now = reactor_.now_usec();
  if (last_usec != 0 && now - last_usec <= log_interval_usec) return false;
  last_usec = now;
  return true;
}

void Acceptor::schedule_look() {
  if (look_timer_ != 0) reactor_.cancel(look_timer_);
  std::chrono::microseconds delay = short_pause;
  if (acceptance_ == Acceptance::accepting) {
    const auto age = reactor_.now_usec() - accepting_since_usec_;
    const bool is_young = std::chrono::microseconds(age) < first_looks;
    delay = is_young ? std::chrono::microseconds(first_look_interval) : look_interval;
  }
  look_timer_ = reactor_.call_after(delay, [this] {
    look_timer_ = 0;
    look();
  });
}

void Acceptor::look() {
  if (acceptance_ == Acceptance::paused && observer_.may_accept()) accept_again();
  if (acceptance_ == Acceptance::accepting && rest_timer_ == 0) {
    for (auto& listener : listeners_) accept_some(*listener);
  }
  if (acceptance_ == Acceptance::accepting || acceptance_ == Acceptance::paused) schedule_look();
}

void Acceptor::accept_some(Listener& listener) {
  Share share = Share::alone;
  for (int i = 0; i < limits_.accepts_per_turn && share != Share::large; ++i) {
    if (acceptance_ != Acceptance::accepting) return;
    if (owner_.connection_count() >= limits_.connections) return wait_for_room();
    if (!observer_.may_accept()) return pause();
    if (!accept_one(listener)) break;
    share = observer_.share();
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

void Acceptor::take_rest(int left) {
  rest_timer_ = reactor_.call_after(rest, [this, left] {
    rest_timer_ = 0;
    // Others were woken for what waits, and may not have had a processor yet.
    if (left > 1 && observer_.share() == Share::large) return take_rest(left - 1);
    accept_again();
  });
}

bool Acceptor::accept_one(Listener& listener) {
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
  auto served = high ? owner_.serve(std::move(*high), peer, length) : fail(std::move(high.error()));
  if (!served) log_warning("a connection was dropped: {}", served.error().message());
  return true;
}

void Acceptor::handle_accept_error(Listener& listener, int error) {
  switch (error) {
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM: {
      if (is_due(last_shortage_usec_)) {
        log_warning("accepting connections waits, with {} open: {}", owner_.connection_count(),
                    Error::from_errno("accept4", error).message());
      }
      return pause();
    }
    case EBADF:
    case EINVAL:
    case ENOTSOCK:
    case EOPNOTSUPP:
      pause();
      return reactor_.fail(Error::from_errno(
          fmt::format("listening descriptor {} is unusable (was it closed by the application?)",
                      listener.socket.get()),
          error));
    default:
      return;  // of that connection alone (ECONNABORTED, EPROTO, EINTR, …)
  }
}

void Acceptor::look_for_room() {
  if (acceptance_ != Acceptance::full || owner_.connection_count() >= limits_.connections) return;
  // What waited was not reported anew: the look finds it.
  accept_again();
  look();
}

}  // namespace green::http
