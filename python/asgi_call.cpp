#include "python/asgi_call.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <optional>
#include <utility>

#include "common/log.h"
#include "common/message_ids.h"
#include "daemon/http/body.h"
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

/// Of a reply that its client does not take: send() waits above, until there is less than below.
constexpr std::uint64_t high_water = 64 << 10;
constexpr std::uint64_t low_water = 16 << 10;
constexpr std::size_t logged_target_size = 1024;

void raise_lost() { raise_client_gone("send(): the client is gone"); }

}  // namespace

AsgiCall::~AsgiCall() {
  if (exchange_ != nullptr) exchange_->watch(nullptr);
  if (coroutine_ != nullptr) AsgiCoroutine::detach(coroutine_);
  callables_.close(PyRef());
}

void AsgiCall::open(http::Exchange& exchange, PyRef scope) {
  exchange_ = &exchange;
  reply_ = Reply::none;
  has_trailers_ = false;
  body_is_read_ = is_cancelled_ = false;
  const http::Request& request = exchange.request();
  name_.assign(request.method).append(" ").append(request.path.substr(0, logged_target_size));
  scope_ = std::move(scope);
  exchange.watch(this);
  begun_usec_ = context_.loop.reactor().reactor().now_usec();
  exchange.announce();
  auto begun = AsgiCoroutine::Begun::failed;
  if (scope_ && callables_.open(*this))
    begun = AsgiCoroutine::begin(*this, context_.loop, latin1(name_), coroutine_, task_);
  // Over: this is free for another request.
  if (begun == AsgiCoroutine::Begun::over) return;
  if (begun == AsgiCoroutine::Begun::failed) {
    report("its task could not be made");
    return end();
  }
  if (exchange_ != nullptr && !exchange_->head_sent()) watch_time();
}

/// The application has its time from now on to begin its reply.
void AsgiCall::watch_time() {
  context_.unanswered.start(*this, context_.loop.reactor().reactor().now_usec());
}

void AsgiCall::exchange_changed() {
  // It waited for the client, in receive().
  if (!has_timeout() && !is_cancelled_ && !exchange_->head_sent()) watch_time();
  futures_.wake(name_);
}

// What the application receives.

PyRef AsgiCall::next_message() {
  if (exchange_ == nullptr || !exchange_->client_connected()) return context_.messages.disconnect();
  if (!body_is_read_) return body_message();
  return exchange_->input_ended() ? context_.messages.disconnect() : PyRef();
}

PyRef AsgiCall::body_message() {
  http::Body& body = *exchange_->request().body;
  const std::size_t size = body.waiting();
  const bool is_whole = exchange_->body_is_whole();
  if (size == 0) {
    if (!is_whole) {
      // The client's time, which is not the application's.
      cancel_timeout();
      ask_for_body();
      return exchange_->client_connected() ? PyRef() : context_.messages.disconnect();
    }
    body_is_read_ = true;
    return context_.messages.empty_request();
  }
  const PyRef part =
      PyRef::steal(PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(size)));
  if (!part) return {};
  body.take({PyBytes_AS_STRING(part.get()), size});
  body_is_read_ = is_whole;
  if (!is_whole) ask_for_body();
  return context_.messages.request(part.get(), is_whole);
}

void AsgiCall::ask_for_body() {
  const http::NestedReactor::Outside outside(context_.loop.reactor());
  exchange_->want_body();
}

// What it sends.

AsgiCallables::Owner::Taken AsgiCall::take(PyObject* message) {
  const auto kind = context_.messages.kind_of(message);
  if (!kind) return Taken::failed;
  std::optional<http::NestedReactor::Outside> outside;
  if (*kind != AsgiSend::start) outside.emplace(context_.loop.reactor());  // that sends nothing yet
  switch (*kind) {
    case AsgiSend::body:
      return send_body(message);
    case AsgiSend::start:
      return start(message);
    case AsgiSend::early_hint:
      return send_hint(message);
    case AsgiSend::pathsend:
      return send_path(message);
    case AsgiSend::trailers:
      return send_trailers(message);
  }
  return Taken::failed;
}

/// `is_start`: it has to come before the reply has begun, else after that.
bool AsgiCall::may_send(const char* what, bool is_start) {
  if (exchange_ != nullptr && !exchange_->client_connected()) {
    raise_lost();
    return false;
  }
  if (is_start && reply_ == Reply::none) return true;
  if (!is_start && reply_ == Reply::started) return true;
  if (reply_ == Reply::complete)
    PyErr_Format(PyExc_RuntimeError, "send(): %s after the reply was complete", what);
  else if (reply_ == Reply::trailing)
    PyErr_Format(PyExc_RuntimeError, "send(): %s after the body was complete: trailers are due",
                 what);
  else if (is_start)
    PyErr_Format(PyExc_RuntimeError, "send(): %s after http.response.start", what);
  else
    PyErr_Format(PyExc_RuntimeError, "send(): %s before http.response.start", what);
  return false;
}

AsgiCallables::Owner::Taken AsgiCall::start(PyObject* message) {
  int status = 0;
  if (!may_send("http.response.start", true) ||
      !context_.messages.read_start(message, status, headers_) ||
      !context_.messages.read_trailers_promise(message, has_trailers_))
    return Taken::failed;
  if (has_trailers_) exchange_->promise_trailers(true);
  if (const auto started = exchange_->start(status, http::standard_reason(status), headers_.views);
      !started) {
    exchange_->promise_trailers(false);
    raise_error(started.error());
    return Taken::failed;
  }
  reply_ = Reply::started;
  return Taken::with_room;
}

AsgiCallables::Owner::Taken AsgiCall::send_body(PyObject* message) {
  MessageBytes body;
  bool is_last = true;
  if (!may_send("http.response.body", false) ||
      !context_.messages.read_body(message, body, is_last))
    return Taken::failed;
  if (is_last && !has_trailers_) {
    finish([&body](http::Exchange& exchange) { exchange.finish(body.view()); });
    return Taken::with_room;
  }
  cancel_timeout();  // the reply has begun: from here on its client may take the time it takes
  if (const auto written = exchange_->write(body.view()); !written) {
    raise_error(written.error());
    return Taken::failed;
  }
  if (is_last) reply_ = Reply::trailing;
  return exchange_->unsent() > high_water ? Taken::without_room : Taken::with_room;
}

AsgiCallables::Owner::Taken AsgiCall::send_hint(PyObject* message) {
  if (!may_send("http.response.early_hint", true) ||
      !context_.messages.read_links(message, headers_))
    return Taken::failed;
  if (const auto sent = exchange_->send_interim(103, headers_.views); !sent) {
    raise_error(sent.error());
    return Taken::failed;
  }
  return Taken::with_room;
}

AsgiCallables::Owner::Taken AsgiCall::send_path(PyObject* message) {
  std::string path;
  if (has_trailers_ && reply_ == Reply::started) {
    PyErr_SetString(PyExc_RuntimeError, "send(): http.response.pathsend of a reply with trailers");
    return Taken::failed;
  }
  if (!may_send("http.response.pathsend", false) || !context_.messages.read_path(message, path))
    return Taken::failed;
  http::FilePart part{.file = Fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK))};
  struct stat status{};
  if (!part.file || ::fstat(part.file.get(), &status) != 0) {
    PyErr_SetFromErrnoWithFilename(PyExc_OSError, path.c_str());
    return Taken::failed;
  }
  if (!S_ISREG(status.st_mode)) {
    PyErr_Format(PyExc_ValueError, "send(): http.response.pathsend: %s is no regular file",
                 path.c_str());
    return Taken::failed;
  }
  part.length = static_cast<std::uint64_t>(status.st_size);
  finish([&part](http::Exchange& exchange) { exchange.finish_file(std::move(part)); });
  return Taken::with_room;
}

AsgiCallables::Owner::Taken AsgiCall::send_trailers(PyObject* message) {
  const bool is_lost = exchange_ != nullptr && !exchange_->client_connected();
  bool is_last = true;
  if (!is_lost && reply_ == Reply::started) {
    PyErr_SetString(PyExc_RuntimeError,
                    has_trailers_ ? "send(): http.response.trailers before the body was complete"
                                  : "send(): http.response.trailers without \"trailers\": True in "
                                    "http.response.start");
    return Taken::failed;
  }
  if (is_lost || reply_ != Reply::trailing) {
    may_send("http.response.trailers", false);
    return Taken::failed;
  }
  if (!context_.messages.read_trailers(message, headers_, is_last)) return Taken::failed;
  if (const auto added = exchange_->add_trailers(headers_.views); !added) {
    raise_error(added.error());
    return Taken::failed;
  }
  if (is_last) finish([](http::Exchange& exchange) { exchange.finish(); });
  return Taken::with_room;
}

PyRef AsgiCall::room() {
  if (exchange_ == nullptr) return PyRef::borrow(Py_None);
  if (!exchange_->client_connected()) {
    raise_lost();
    return {};
  }
  return exchange_->unsent() <= low_water ? PyRef::borrow(Py_None) : PyRef();
}

template <typename How>
void AsgiCall::finish(How how) {
  cancel_timeout();
  http::withdraw_call();
  reply_ = Reply::complete;
  http::Exchange& exchange = *std::exchange(exchange_, nullptr);
  exchange.watch(nullptr);
  how(exchange);
  futures_.wake(name_);
  context_.on_reply();
}

// Its task.

PyRef AsgiCall::begin() {
  const PyRef scope = std::move(scope_);
  PyObject* arguments[] = {scope.get(), callables_.receive(), callables_.send()};
  return PyRef::steal(PyObject_Vectorcall(context_.application.get(), arguments, 3, nullptr));
}

void AsgiCall::before_step() {
  if (exchange_ == nullptr) return;
  const http::NestedReactor::Outside outside(context_.loop.reactor());
  exchange_->publish();
}

void AsgiCall::after_step() {
  http::withdraw_call();
  end_if_forked();
  // A signal's handler answered meanwhile: what the application sends now reaches nobody.
  if (!http::take_answered() || exchange_ == nullptr) return;
  const KeptException kept;
  const http::NestedReactor::Outside outside(context_.loop.reactor());
  exchange_->give_up_answered();
  cancel();
}

void AsgiCall::returned() {
  if (exchange_ != nullptr && exchange_->client_connected())
    log_error("{}: the application returned before its reply was {}", name_,
              reply_ == Reply::none ? "begun" : "complete");
  end();
}

bool AsgiCall::raised() {
  PyObject* type = nullptr;
  PyObject* value = nullptr;
  PyObject* traceback = nullptr;
  PyErr_Fetch(&type, &value, &traceback);
  PyErr_NormalizeException(&type, &value, &traceback);
  const bool is_cancel = PyErr_GivenExceptionMatches(type, context_.cancelled_error.get()) != 0;
  bool is_expected = is_cancel && (is_cancelled_ || exchange_ == nullptr);
  if (!is_expected && exchange_ != nullptr && !exchange_->client_connected()) {
    // Whatever an application makes of our ConnectionResetError, it is not its fault.
    is_expected = comes_of_gone_client(value);
  }
  if (is_expected && !is_cancel) {
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(traceback);
  } else {
    PyErr_Restore(type, value, traceback);
  }
  if (is_expected) {
    log_debug("{}: ended without a reply: {}", name_, is_cancel ? "cancelled" : "client gone");
  } else if (is_cancel) {
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_Restore(Py_XNewRef(type), Py_XNewRef(value), Py_XNewRef(traceback));
    report("the application's task was cancelled");
    PyErr_Restore(type, value, traceback);
  } else {
    report("the application failed");
  }
  PyErr_Fetch(&type, &value, &traceback);
  end();
  PyErr_Restore(type, value, traceback);
  return is_cancel;
}

void AsgiCall::report(const char* what) {
  std::string traceback = take_traceback();
  log_error("{}: {}\n{}", name_, what, traceback);
  context_.last_traceback.set(std::move(traceback));
}

/// The task is over: its exchange gets an end if it has none.
void AsgiCall::end() {
  if (exchange_ != nullptr) {
    const http::NestedReactor::Outside outside(context_.loop.reactor());
    finish([](http::Exchange& exchange) { exchange.abort(); });
  }
  coroutine_ = nullptr;
  scope_.reset();
  futures_.wake(name_);
  callables_.close(PyRef());
  // It may go with the task, and with it whatever the application left there: last.
  const PyRef task = std::move(task_);
  context_.on_end(*this);
}

void AsgiCall::on_timeout() {
  log_event(message_id::request_timed_out, LogLevel::error,
            "{} was not answered within timeout ({:g} s): its task is cancelled", name_,
            context_.timeout_seconds);
  give_up();
}

void AsgiCall::dropped() {
  coroutine_ = nullptr;
  // Not from within whatever let go of it.
  const http::NestedReactor::Outside outside(context_.loop.reactor());
  context_.loop.reactor().reactor().defer(*this);
}

void AsgiCall::run_deferred() {
  if (exchange_ != nullptr && exchange_->client_connected())
    log_error("{}: its task was dropped before it had ended", name_);
  end();
}

void AsgiCall::give_up() {
  if (exchange_ != nullptr) exchange_->give_up();
  cancel();
}

void AsgiCall::cancel() {
  is_cancelled_ = true;
  const PyRef cancelled = PyRef::steal(PyObject_CallMethod(task_.get(), "cancel", nullptr));
  if (!cancelled) log_error("{}: cancel(): {}", name_, take_exception_line());
}

}  // namespace green::python
