// One request under way in an ASGI application: its task, what it may receive, what it has sent.
// Used for one after the other. Loop thread, with the GIL.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "daemon/http/application.h"
#include "daemon/http/reactor.h"
#include "daemon/http/timeout_list.h"
#include "python/asgi_callables.h"
#include "python/asgi_coroutine.h"
#include "python/asgi_futures.h"
#include "python/asgi_messages.h"
#include "python/event_loop.h"
#include "python/last_traceback.h"
#include "python/py_ref.h"

namespace green::python {

class AsgiCall;

/// What all calls of an application share.
struct AsgiContext {
  PyRef application;
  EventLoop& loop;
  AsgiMessages messages;
  LastTraceback& last_traceback;
  http::TimeoutList unanswered;  ///< calls, until their reply begins
  double timeout_seconds;
  PyRef cancelled_error;
  /// The reply is over; the call may go on.
  std::function<void()> on_reply;
  /// The call is over, and free for another request.
  std::function<void(AsgiCall&)> on_end;
};

class AsgiCall final : http::ExchangeWatcher,
                       http::TimeoutNode,
                       AsgiCallables::Owner,
                       AsgiCoroutine::Owner,
                       http::Deferred {
 public:
  /// `context` outlives it.
  explicit AsgiCall(AsgiContext& context) : context_(context) {}
  ~AsgiCall() override;

  /// Begins the request's task, which may be over then; where it can't, the request is answered
  /// with 500.
  void open(http::Exchange& exchange, PyRef scope);
  /// Cancels the task. The reply, if there is none yet, is 504 for one that outlived its time.
  void give_up();
  /// "GET /path"
  const std::string& name() const { return name_; }
  bool is_answered() const { return exchange_ == nullptr; }
  /// CLOCK_MONOTONIC at open().
  std::uint64_t begun_usec() const { return begun_usec_; }

  std::size_t index_in_application = 0;  ///< the application's own

 private:
  /// `trailing`: the body is complete, and trailers are due.
  enum class Reply { none, started, trailing, complete };

  // What becomes of the exchange.
  void exchange_changed() override;
  void on_timeout() override;
  // The application's side.
  PyRef next_message() override;
  Taken take(PyObject* message) override;
  PyRef room() override;
  PyObject* make_future() override { return futures_.make(context_.loop); }
  // The task's.
  PyRef begin() override;
  void before_step() override;
  void after_step() override;
  void returned() override;
  bool raised() override;
  void dropped() override;
  void run_deferred() override;

  PyRef body_message();
  void ask_for_body();
  void watch_time();
  bool may_send(const char* what, bool is_start);
  Taken start(PyObject* message);
  Taken send_body(PyObject* message);
  Taken send_hint(PyObject* message);
  Taken send_path(PyObject* message);
  Taken send_trailers(PyObject* message);
  /// The exchange is answered by `how`, and not ours any more.
  template <typename How>
  void finish(How how);
  void cancel();
  void report(const char* what);
  void end();

  AsgiContext& context_;
  http::Exchange* exchange_ = nullptr;  ///< null once it is answered
  Reply reply_ = Reply::none;
  bool has_trailers_ = false;
  bool body_is_read_ = false;
  bool is_cancelled_ = false;
  std::uint64_t begun_usec_ = 0;
  std::string name_;
  PyRef scope_;  ///< until the application is called
  PyRef task_;
  PyObject* coroutine_ = nullptr;  ///< the task's; null once it is over
  AsgiCallables callables_;
  AsgiFutures futures_;
  MessageHeaders headers_;
};

}  // namespace green::python
