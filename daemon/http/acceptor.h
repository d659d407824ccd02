// Acceptor: the listeners of a server, and when connections are taken off them: not while others
// should, not with as many as may be open, not without descriptors. Loop thread.
#pragma once

#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "common/fd.h"
#include "common/result.h"
#include "daemon/http/limits.h"
#include "daemon/http/reactor.h"
#include "daemon/http/server.h"

namespace green::http {

class Acceptor {
 public:
  /// Who has the connections.
  class Owner {
   public:
    virtual std::size_t connection_count() const = 0;
    /// Takes over an accepted socket. After an error it is closed.
    virtual Result<void> serve(Fd socket, const sockaddr_storage& peer, socklen_t peer_length) = 0;

   protected:
    ~Owner() = default;
  };

  /// All of them outlive it.
  Acceptor(Reactor& reactor, ServerObserver& observer, const Limits& limits, Owner& owner);
  Acceptor(const Acceptor&) = delete;
  Acceptor& operator=(const Acceptor&) = delete;
  ~Acceptor();

  /// A bound, listening socket. Before or after start().
  Result<void> add_listener(Fd listener);
  Result<void> start();
  /// Closes the listeners, after a last look for a connection whose wake-up only we got.
  void stop();
  /// There may be room for another connection.
  void look_for_room();

 private:
  enum class Acceptance {
    stopped,
    accepting,
    paused,  ///< for a moment
    full,    ///< until a connection closes
  };
  struct Listener;

  void accept_some(Listener& listener);
  bool accept_one(Listener& listener);
  void take_rest(int left);
  void handle_accept_error(Listener& listener, int error);
  Result<void> watch(Listener& listener);
  void unwatch_all();
  void pause();
  void wait_for_room();
  void accept_again();
  void look();
  void schedule_look();
  /// Whether a warning that can come by the thousand is to be logged now.
  bool is_due(std::uint64_t& last_usec);

  Reactor& reactor_;
  ServerObserver& observer_;
  const Limits& limits_;
  Owner& owner_;
  Acceptance acceptance_ = Acceptance::stopped;
  std::vector<std::unique_ptr<Listener>> listeners_;
  Reactor::TimerId look_timer_ = 0;
  Reactor::TimerId rest_timer_ = 0;
  std::uint64_t accepting_since_usec_ = 0;
  std::uint64_t last_shortage_usec_ = 0;
  std::uint64_t last_full_usec_ = 0;
};

}  // namespace green::http
