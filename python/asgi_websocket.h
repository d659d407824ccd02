// One WebSocket in an ASGI application: its task, the messages that wait for it, what it sends, and
// the refusal of a handshake. Loop thread, with the GIL.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "daemon/http/application.h"
#include "daemon/http/timeout_list.h"
#include "daemon/http/websocket.h"
#include "python/asgi_call.h"
#include "python/asgi_callables.h"
#include "python/asgi_coroutine.h"
#include "python/asgi_websocket_messages.h"
#include "python/py_ref.h"

namespace green::python {

class AsgiWebSocket final : http::WebSocketReceiver,
                            http::ExchangeWatcher,
                            http::TimeoutNode,
                            AsgiCallables::Owner,
                            AsgiCoroutine::Owner,
                            http::Deferred {
 public:
  /// All of them outlive it. `on_end`: the task is over; may destroy it.
  AsgiWebSocket(AsgiContext& context, AsgiWebSocketMessages& messages,
                std::function<void(AsgiWebSocket&)> on_end);
  ~AsgiWebSocket() override;

  /// Begins the task of a handshake, which may be over then, and this with it; where it can't, the
  /// handshake is answered with 500.
  void open(http::Exchange& exchange, PyRef scope);
  /// Cancels the task; a handshake without an answer gets 504.
  void give_up();

  std::size_t index_in_application = 0;  ///< the application's own

 private:
  enum class State {
    connecting,  ///< websocket.connect is not received yet
    asked,       ///< it is; the application has to accept or refuse
    accepted,
    denying,  ///< a refusal of its own making has begun
    over,     ///< closed by either side: websocket.disconnect is what is left to receive
  };

  // What becomes of the handshake, and of the WebSocket.
  void exchange_changed() override { futures_.wake(name_); }
  void on_timeout() override;
  void message(http::MessageKind kind, std::string_view data) override;
  void closed(int code, std::string_view reason) override;
  void taken() override { futures_.wake(name_); }
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

  PyRef next_waiting();
  Taken accept(PyObject* message);
  Taken send(PyObject* message);
  Taken close(PyObject* message);
  Taken deny(PyObject* message);
  Taken deny_body(PyObject* message);
  bool is_gone() const;
  /// The handshake is answered by `how`; its exchange is not ours any more.
  template <typename How>
  void finish_handshake(How how);
  void cancel();
  void report(const char* what);
  void end(int code);

  AsgiContext& context_;
  AsgiWebSocketMessages& messages_;
  std::function<void(AsgiWebSocket&)> on_end_;
  State state_ = State::connecting;
  http::Exchange* exchange_ = nullptr;  ///< null once the handshake is answered
  http::WebSocket* socket_ = nullptr;   ///< from then on, if it was accepted
  std::string name_;                    ///< "WebSocket /path"
  bool is_cancelled_ = false;
  bool is_paused_ = false;
  bool is_lost_ = false;  ///< closed, and not by the application
  int close_code_ = http::close_abnormal;
  std::string close_reason_;
  std::vector<PyRef> waiting_;  ///< messages that were not received yet
  std::size_t next_ = 0;        ///< of them
  std::size_t waiting_bytes_ = 0;
  PyRef scope_;  ///< until the application is called
  PyRef task_;
  PyObject* coroutine_ = nullptr;  ///< the task's; null once it is over
  AsgiCallables callables_;
  AsgiFutures futures_;
};

}  // namespace green::python
