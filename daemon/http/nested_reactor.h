// A reactor that turns inside another event loop (asyncio's): that one watches fd(), and calls
// turn() whenever it is readable. A timer in the reactor's own set sees to its deadlines.
// Loop thread.
#pragma once

#include <memory>

#include "common/fd.h"
#include "common/result.h"
#include "daemon/http/reactor.h"

namespace green::http {

class NestedReactor final : EventHandler {
 public:
  /// `reactor` outlives this.
  static Result<std::unique_ptr<NestedReactor>> create(Reactor& reactor);
  ~NestedReactor();
  NestedReactor(const NestedReactor&) = delete;
  NestedReactor& operator=(const NestedReactor&) = delete;

  int fd() const { return reactor_.fd(); }
  Reactor& reactor() const { return reactor_; }
  Result<void> turn();

  /// While there is one, connections may be touched outside of a turn: what that starts or defers
  /// is seen to in time.
  class Outside {
   public:
    explicit Outside(NestedReactor& nested) : nested_(nested) {
      if (!nested_.turning_) nested_.reactor_.refresh_now();
    }
    ~Outside() {
      if (!nested_.turning_) nested_.set_timer();
    }
    Outside(const Outside&) = delete;
    Outside& operator=(const Outside&) = delete;

   private:
    NestedReactor& nested_;
  };

 private:
  NestedReactor(Reactor& reactor, Fd timer) : reactor_(reactor), timer_(std::move(timer)) {}
  void on_events(std::uint32_t events) override;
  /// Only ever to an earlier time: one that comes early costs less than setting it for each
  /// request.
  void set_timer();

  Reactor& reactor_;
  Fd timer_;
  std::uint64_t set_for_usec_ = UINT64_MAX;
  bool turning_ = false;
};

}  // namespace green::http
