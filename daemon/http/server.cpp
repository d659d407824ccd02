#include "daemon/http/server.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "common/scoreboard.h"
#include "daemon/http/acceptor.h"
#include "daemon/http/connection.h"
#include "daemon/http/endpoints.h"

namespace green::http {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// As drain_late and drain_latest, where somebody waits for the end.
constexpr std::chrono::microseconds prompt_late = milliseconds(500);
constexpr std::chrono::microseconds prompt_latest = seconds(1);
/// In how many steps idle connections are closed.
constexpr std::uint64_t closing_steps = 32;
constexpr std::uint64_t shortest_step_usec = 20'000;

class ServerImpl final : public Server, Deferred, Acceptor::Owner {
 public:
  ServerImpl(Reactor& reactor, Application& application, ServerObserver& observer, Limits limits,
             AccessLog* access_log)
      : context_(reactor, application, observer, std::move(limits), access_log),
        acceptor_(reactor, observer, context_.limits, *this) {
    context_.retire = [this](Connection& connection) { retire(connection); };
    context_.has_given_up = [this] { context_.reactor.defer(*this); };
  }
  ~ServerImpl() override;

  Result<void> add_listener(Fd listener) override {
    return acceptor_.add_listener(std::move(listener));
  }
  Result<void> start_accepting() override;
  void stop_accepting() override { acceptor_.stop(); }
  void drain(std::function<void()> on_drained, DrainPace pace) override;
  void hurry() override;
  bool draining() const override { return context_.draining; }
  Result<void> adopt(Fd socket) override;
  std::size_t connection_count() const override { return connections_.size(); }
  void for_each_in_flight(const std::function<void(const InFlight&)>& tell) const override {
    for (const auto& connection : connections_)
      if (const auto one = connection->in_flight()) tell(*one);
  }

 private:
  void run_deferred() override;
  void retire(Connection& connection);
  Result<void> serve(Fd socket, const sockaddr_storage& peer, socklen_t peer_length) override;
  void close_idle_between(std::chrono::microseconds late, std::chrono::microseconds latest);
  void close_some_idle();

  ConnectionContext context_;
  Acceptor acceptor_;
  std::vector<std::unique_ptr<Connection>> connections_;
  std::vector<std::unique_ptr<Connection>> retired_;
  std::function<void()> on_drained_;
  Reactor::TimerId closing_timer_ = 0;
  std::uint64_t closing_step_usec_ = 0;
  std::uint64_t closed_at_usec_ = 0;  ///< when the last idle connection shall be closed
};

ServerImpl::~ServerImpl() {
  if (closing_timer_ != 0) context_.reactor.cancel(closing_timer_);
}

Result<void> ServerImpl::start_accepting() {
  if (context_.draining) return fail(ErrorCode::cancelled, "the server is draining");
  return acceptor_.start();
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
  const auto idle = static_cast<std::uint64_t>(std::ranges::count_if(
      connections_, [](const auto& connection) { return connection->can_close_early(); }));
  std::uint64_t share = (idle + steps_left - 1) / steps_left;
  // Backwards: one that closes leaves its place to the last, which was looked at.
  for (std::size_t i = connections_.size(); i > 0 && share > 0; --i) {
    if (!connections_[i - 1]->can_close_early()) continue;
    connections_[i - 1]->close_early();
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
  acceptor_.look_for_room();
  // Whoever was given up on may never return.
  if (!context_.draining || connections_.size() > context_.given_up || !on_drained_) return;
  const auto tell = std::exchange(on_drained_, nullptr);
  tell();
}

}  // namespace

std::unique_ptr<Server> Server::create(Reactor& reactor, Application& application,
                                       ServerObserver& observer, Limits limits,
                                       AccessLog* access_log) {
  return std::make_unique<ServerImpl>(reactor, application, observer, std::move(limits),
                                      access_log);
}

}  // namespace green::http
