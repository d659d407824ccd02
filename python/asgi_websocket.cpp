#include "python/asgi_websocket.h"

#include <utility>

#include "common/log.h"
#include "common/message_ids.h"
#include "daemon/http/standard_reason.h"
#include "daemon/http/stuck_call.h"
#include "python/application_fork.h"
#include "python/client_gone.h"
#include "python/header_list.h"
#include "python/kept_exception.h"
#include "python/latin1.h"
#include "python/traceback.h"

namespace green::python {
namespace {

/// Of what a client does not take: send() waits above, until there is less than below.
constexpr std::uint64_t high_water = 64 << 10;
constexpr std::uint64_t low_water = 16 << 10;
/// Of what the application has not received: the client is not read any more.
constexpr std::size_t most_waiting = 32;
constexpr std::size_t most_waiting_bytes = 64 << 10;
constexpr std::size_t logged_target_size = 1024;

void raise_lost() { raise_client_gone("send(): the client is gone"); }

}  // namespace

AsgiWebSocket::AsgiWebSocket(AsgiContext& context, AsgiWebSocketMessages& messages,
                             std::function<void(AsgiWebSocket&)> on_end)
    : context_(context), messages_(messages), on_end_(std::move(on_end)) {}

AsgiWebSocket::~AsgiWebSocket() {
  if (exchange_ != nullptr) exchange_->watch(nullptr);
  if (coroutine_ != nullptr) AsgiCoroutine::detach(coroutine_);
  callables_.close(PyRef());
}

void AsgiWebSocket::open(http::Exchange& exchange, PyRef scope) {
  exchange_ = &exchange;
  name_.assign("WebSocket ").append(exchange.request().path.substr(0, logged_target_size));
  scope_ = std::move(scope);
  exchange.watch(this);
  auto begun = AsgiCoroutine::Begun::failed;
  if (scope_ && callables_.open(*this))
    begun = AsgiCoroutine::begin(*this, context_.loop, latin1(name_), coroutine_, task_);
  if (begun == AsgiCoroutine::Begun::failed) {
    report("its task could not be made");
    return end(http::close_failed);
  }
  if (begun == AsgiCoroutine::Begun::runs && exchange_ != nullptr)
    context_.unanswered.start(*this, context_.loop.reactor().reactor().now_usec());
}

// What comes of the client.

void AsgiWebSocket::message(http::MessageKind kind, std::string_view data) {
  PyRef message = messages_.receive(kind, data);
  if (!message) {
    log_error("{}: a message: {}", name_, take_exception_line());
    const http::NestedReactor::Outside outside(context_.loop.reactor());
    const auto sent = socket_->close(http::close_failed, {});
    if (!sent) log_debug("{}: closing: {}", name_, sent.error().message());
    return;
  }
  waiting_.push_back(std::move(message));
  waiting_bytes_ += data.size();
  if (waiting_.size() - next_ >= most_waiting || waiting_bytes_ >= most_waiting_bytes) {
    is_paused_ = true;
    socket_->pause();
  }
  futures_.wake(name_);
}

void AsgiWebSocket::closed(int code, std::string_view reason) {
  // Of one that the application closed, what it said itself counts.
  if (state_ != State::over) {
    state_ = State::over;
    is_lost_ = true;
    close_code_ = code;
    close_reason_ = reason;
  }
  futures_.wake(name_);
}

// What the application receives.

PyRef AsgiWebSocket::next_waiting() {
  PyRef message = std::move(waiting_[next_++]);
  if (next_ < waiting_.size()) return message;
  waiting_.clear();
  next_ = 0;
  waiting_bytes_ = 0;
  if (std::exchange(is_paused_, false) && socket_ != nullptr) {
    const http::NestedReactor::Outside outside(context_.loop.reactor());
    socket_->resume();
  }
  return message;
}

PyRef AsgiWebSocket::next_message() {
  if (state_ == State::connecting) {
    state_ = State::asked;
    return messages_.connect();
  }
  if (next_ < waiting_.size()) return next_waiting();
  if (state_ == State::over || is_gone()) return messages_.disconnect(close_code_, close_reason_);
  return {};
}

// What it sends.

bool AsgiWebSocket::is_gone() const {
  return is_lost_ || (exchange_ != nullptr && !exchange_->client_connected());
}

AsgiCallables::Owner::Taken AsgiWebSocket::take(PyObject* message) {
  const auto kind = messages_.kind_of(message);
  if (!kind) return Taken::failed;
  const http::NestedReactor::Outside outside(context_.loop.reactor());
  if (*kind != AsgiWebSocketSend::close && is_gone()) {
    raise_lost();
    return Taken::failed;
  }
  switch (*kind) {
    case AsgiWebSocketSend::send:
      return send(message);
    case AsgiWebSocketSend::accept:
      return accept(message);
    case AsgiWebSocketSend::close:
      return close(message);
    case AsgiWebSocketSend::deny:
      return deny(message);
    case AsgiWebSocketSend::deny_body:
      return deny_body(message);
  }
  return Taken::failed;
}

template <typename How>
void AsgiWebSocket::finish_handshake(How how) {
  cancel_timeout();
  http::withdraw_call();
  http::Exchange& exchange = *std::exchange(exchange_, nullptr);
  exchange.watch(nullptr);
  how(exchange);
  futures_.wake(name_);
  context_.on_reply();
}

AsgiCallables::Owner::Taken AsgiWebSocket::accept(PyObject* message) {
  if (state_ != State::connecting && state_ != State::asked) {
    PyErr_SetString(PyExc_RuntimeError, "send(): websocket.accept after the handshake's answer");
    return Taken::failed;
  }
  std::string_view subprotocol;
  MessageHeaders headers;
  if (!messages_.read_accept(message, subprotocol, headers)) return Taken::failed;
  // Accepting ends the exchange, which then is nobody's to watch.
  exchange_->watch(nullptr);
  const auto made = exchange_->accept_websocket(subprotocol, headers.views, *this);
  if (!made) {
    exchange_->watch(this);
    raise_error(made.error());
    return Taken::failed;
  }
  cancel_timeout();
  http::withdraw_call();
  exchange_ = nullptr;
  socket_ = *made;
  state_ = State::accepted;
  context_.on_reply();
  return Taken::with_room;
}

AsgiCallables::Owner::Taken AsgiWebSocket::send(PyObject* message) {
  if (state_ != State::accepted) {
    PyErr_SetString(PyExc_RuntimeError, state_ == State::over
                                            ? "send(): websocket.send after websocket.close"
                                            : "send(): websocket.send before websocket.accept");
    return Taken::failed;
  }
  http::MessageKind kind{};
  std::string_view text;
  MessageBytes bytes;
  if (!messages_.read_send(message, kind, text, bytes)) return Taken::failed;
  const auto data = kind == http::MessageKind::text ? text : bytes.view();
  if (const auto sent = socket_->send(kind, data); !sent) {
    raise_error(sent.error());
    return Taken::failed;
  }
  return socket_->unsent() > high_water ? Taken::without_room : Taken::with_room;
}

AsgiCallables::Owner::Taken AsgiWebSocket::close(PyObject* message) {
  int code = 0;
  std::string_view reason;
  if (!messages_.read_close(message, code, reason)) return Taken::failed;
  // Closing what the client has closed is no mistake: neither side knows of the other's.
  if (state_ == State::over && is_lost_) return Taken::with_room;
  if (state_ == State::over || state_ == State::denying) {
    PyErr_SetString(PyExc_RuntimeError, "send(): websocket.close after the WebSocket's end");
    return Taken::failed;
  }
  if (state_ == State::accepted) {
    if (const auto closing = socket_->close(code, reason); !closing) {
      raise_error(closing.error());
      return Taken::failed;
    }
    close_code_ = code;
    close_reason_ = reason;
  } else {
    finish_handshake([](http::Exchange& exchange) {
      if (!exchange.start(403, "Forbidden", {})) return exchange.abort();
      exchange.finish();
    });
  }
  state_ = State::over;
  futures_.wake(name_);
  return Taken::with_room;
}

AsgiCallables::Owner::Taken AsgiWebSocket::deny(PyObject* message) {
  int status = 0;
  MessageHeaders headers;
  if (state_ != State::connecting && state_ != State::asked) {
    PyErr_SetString(PyExc_RuntimeError,
                    "send(): websocket.http.response.start after the handshake's answer");
    return Taken::failed;
  }
  if (!messages_.http().read_start(message, status, headers)) return Taken::failed;
  const auto words = http::standard_reason(status);
  if (const auto started = exchange_->start(status, words, headers.views); !started) {
    raise_error(started.error());
    return Taken::failed;
  }
  state_ = State::denying;
  return Taken::with_room;
}

AsgiCallables::Owner::Taken AsgiWebSocket::deny_body(PyObject* message) {
  MessageBytes body;
  bool is_last = true;
  if (state_ != State::denying) {
    PyErr_SetString(PyExc_RuntimeError,
                    "send(): websocket.http.response.body without websocket.http.response.start");
    return Taken::failed;
  }
  if (!messages_.http().read_body(message, body, is_last)) return Taken::failed;
  if (is_last) {
    state_ = State::over;
    finish_handshake([&body](http::Exchange& exchange) { exchange.finish(body.view()); });
    return Taken::with_room;
  }
  cancel_timeout();
  if (const auto written = exchange_->write(body.view()); !written) {
    raise_error(written.error());
    return Taken::failed;
  }
  return exchange_->unsent() > high_water ? Taken::without_room : Taken::with_room;
}

PyRef AsgiWebSocket::room() {
  if (is_gone()) {
    raise_lost();
    return {};
  }
  std::uint64_t unsent = 0;
  if (exchange_ != nullptr) unsent = exchange_->unsent();
  if (socket_ != nullptr) unsent = socket_->unsent();
  return unsent <= low_water ? PyRef::borrow(Py_None) : PyRef();
}

// Its task.

PyRef AsgiWebSocket::begin() {
  const PyRef scope = std::move(scope_);
  PyObject* arguments[] = {scope.get(), callables_.receive(), callables_.send()};
  return PyRef::steal(PyObject_Vectorcall(context_.application.get(), arguments, 3, nullptr));
}

void AsgiWebSocket::before_step() {
  if (exchange_ == nullptr) return;
  const http::NestedReactor::Outside outside(context_.loop.reactor());
  exchange_->publish();
}

void AsgiWebSocket::after_step() {
  http::withdraw_call();
  end_if_forked();
  // A signal's handler answered the handshake meanwhile.
  if (!http::take_answered() || exchange_ == nullptr) return;
  const KeptException kept;
  const http::NestedReactor::Outside outside(context_.loop.reactor());
  exchange_->give_up_answered();
  cancel();
}

void AsgiWebSocket::returned() {
  if (exchange_ != nullptr && exchange_->client_connected())
    log_error("{}: the application returned before it had answered the handshake", name_);
  end(http::close_normal);
}

bool AsgiWebSocket::raised() {
  PyObject* type = nullptr;
  PyObject* value = nullptr;
  PyObject* traceback = nullptr;
  PyErr_Fetch(&type, &value, &traceback);
  PyErr_NormalizeException(&type, &value, &traceback);
  const bool is_cancel = PyErr_GivenExceptionMatches(type, context_.cancelled_error.get()) != 0;
  bool is_expected = is_cancel && is_cancelled_;
  if (!is_cancel && is_gone()) {
    // Whatever an application makes of our ConnectionResetError, it is not its fault.
    is_expected = comes_of_gone_client(value);
  }
  // Of a cancellation, the task is to know too.
  const PyRef kept_type = PyRef::borrow(type);
  const PyRef kept_value = PyRef::borrow(value);
  const PyRef kept_traceback = PyRef::borrow(traceback);
  PyErr_Restore(type, value, traceback);
  if (is_expected) {
    PyErr_Clear();
    log_debug("{}: ended: {}", name_, is_cancel ? "cancelled" : "client gone");
  } else {
    report(is_cancel ? "the application's task was cancelled" : "the application failed");
  }
  end(is_cancel && is_cancelled_ ? http::close_restart : http::close_failed);
  if (is_cancel) {
    PyErr_Restore(Py_XNewRef(kept_type.get()), Py_XNewRef(kept_value.get()),
                  Py_XNewRef(kept_traceback.get()));
  }
  return is_cancel;
}

void AsgiWebSocket::report(const char* what) {
  std::string traceback = take_traceback();
  log_error("{}: {}\n{}", name_, what, traceback);
  context_.last_traceback.set(std::move(traceback));
}

void AsgiWebSocket::end(int code) {
  {
    const http::NestedReactor::Outside outside(context_.loop.reactor());
    if (exchange_ != nullptr) finish_handshake([](http::Exchange& exchange) { exchange.abort(); });
    if (socket_ != nullptr) std::exchange(socket_, nullptr)->finish(code);
  }
  coroutine_ = nullptr;
  scope_.reset();
  waiting_.clear();
  if (state_ != State::over) {
    state_ = State::over;
    close_code_ = code;
  }
  // Other tasks of the application's may wait still, or ask later.
  futures_.wake(name_);
  const PyRef last = messages_.disconnect(close_code_, close_reason_);
  if (!last) log_error("{}: {}", name_, take_exception_line());
  callables_.close(last);
  // It may go with the task, and with it whatever the application left there: last.
  const PyRef task = std::move(task_);
  const auto on_end = on_end_;
  on_end(*this);
}

void AsgiWebSocket::on_timeout() {
  log_event(message_id::request_timed_out, LogLevel::error,
            "{}: the handshake was not answered within timeout ({:g} s): its task is cancelled",
            name_, context_.timeout_seconds);
  give_up();
}

void AsgiWebSocket::dropped() {
  coroutine_ = nullptr;
  // Not from within whatever let go of it.
  const http::NestedReactor::Outside outside(context_.loop.reactor());
  context_.loop.reactor().reactor().defer(*this);
}

void AsgiWebSocket::run_deferred() {
  if (exchange_ != nullptr && exchange_->client_connected())
    log_error("{}: its task was dropped before it had ended", name_);
  end(http::close_failed);
}

void AsgiWebSocket::give_up() {
  if (exchange_ != nullptr) exchange_->give_up();
  cancel();
}

void AsgiWebSocket::cancel() {
  is_cancelled_ = true;
  const PyRef cancelled = PyRef::steal(PyObject_CallMethod(task_.get(), "cancel", nullptr));
  if (!cancelled) log_error("{}: cancel(): {}", name_, take_exception_line());
}

}  // namespace green::python
