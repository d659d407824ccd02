// An ASGI application (ASGI 3): each request is a task of the worker's event loop. Loop thread,
// with the GIL.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "common/settings.h"
#include "python/asgi_call.h"
#include "python/asgi_scope.h"
#include "python/asgi_websockets.h"
#include "python/event_loop.h"
#include "python/runtime.h"

namespace green::python {

class AsgiApplication final : public SiteApplication {
 public:
  /// In the process that will run it. `last_traceback` outlives this. Throws
  /// pybind11::error_already_set and std::runtime_error.
  AsgiApplication(PyRef application, const Settings& settings, LastTraceback& last_traceback);
  ~AsgiApplication() override;

  Calls calls() const override { return Calls::as_tasks; }
  bool streams_bodies() const override { return true; }
  Result<void> start(http::Reactor& reactor, std::function<void()> on_progress) override;
  std::expected<void, LoadFailure> start_up() override;
  Result<void> run_loop(http::Reactor&) override { return loop_->run(); }
  void drain() override;
  void wind_down(const std::function<void()>& done) override;
  CallsUnderWay under_way() const override;
  CallDetails details() const override;
  std::vector<std::string> give_up_calls(std::uint64_t, bool) override { return {}; }
  void call(http::Exchange& exchange) override;

 private:
  void answer_not_found(http::Exchange& exchange) const;
  static void answer_busy(http::Exchange& exchange);
  void call_ended(AsgiCall& call);
  bool is_busy() const { return !calls_.empty() || websockets_.count() > 0; }
  void wind_down_if_idle();
  void cancel_all();
  /// Once no call is left.
  void shut_down();
  void shut_down_is_done();

  const Settings& settings_;
  AsgiScope scope_;
  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<AsgiContext> context_;
  PyRef lifespan_;  ///< from a start-up that succeeded on
  PyRef state_;
  PyRef shut_down_task_;
  std::function<void()> is_shut_down_;
  std::uint64_t drain_began_usec_ = 0;
  http::Reactor* reactor_ = nullptr;
  AsgiWebSockets websockets_;
  std::vector<std::unique_ptr<AsgiCall>> calls_;  ///< under way
  std::vector<std::unique_ptr<AsgiCall>> free_;
  std::function<void()> when_wound_down_;
};

}  // namespace green::python
