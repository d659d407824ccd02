#include "python/asgi_application.h"

#include <pybind11/pybind11.h>

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "common/log.h"
#include "common/scoreboard.h"
#include "common/text.h"
#include "python/green_module.h"
#include "python/traceback.h"

namespace green::python {
namespace {

namespace py = pybind11;

constexpr std::array plain_text{http::Header{"Content-Type", "text/plain; charset=utf-8"}};
/// Far enough away where no timeout is set: the list is kept for its order.
constexpr Microseconds never = std::chrono::hours(24 * 365 * 100);
constexpr Microseconds shortest_shut_down = std::chrono::milliseconds(500);

Microseconds timeout_of(const Settings& settings) {
  return settings.timeout.count() == 0 ? never : settings.timeout;
}

double in_seconds(Microseconds span) { return std::chrono::duration<double>(span).count(); }

PyRef taken(py::object object) { return PyRef::steal(object.release().ptr()); }
py::object borrowed(const PyRef& object) {
  return py::reinterpret_borrow<py::object>(object.get());
}

/// Calls a std::function that lives as long as the worker does.
PyObject* call_function(PyObject* capsule, PyObject*) {
  (*static_cast<std::function<void()>*>(PyCapsule_GetPointer(capsule, nullptr)))();
  Py_RETURN_NONE;
}

}  // namespace

AsgiApplication::AsgiApplication(PyRef application, const Settings& settings,
                                 LastTraceback& last_traceback)
    : settings_(settings),
      scope_(settings.script_name),
      loop_(EventLoop::make(settings.loop)),
      context_(new AsgiContext{
          .application = std::move(application),
          .loop = *loop_,
          .messages = {},
          .last_traceback = last_traceback,
          .unanswered = http::TimeoutList(timeout_of(settings)),
          .timeout_seconds = in_seconds(settings.timeout),
          .cancelled_error = taken(py::module_::import("asyncio").attr("CancelledError")),
          .on_reply = {},
          .on_end = [this](AsgiCall& call) { call_ended(call); },
      }),
      state_(taken(py::dict())),
      websockets_(*context_, [this] { wind_down_if_idle(); }) {}

AsgiApplication::~AsgiApplication() {
  if (reactor_ == nullptr) return;
  // What is left of the calls ends while what they answer is still there.
  context_->on_reply = [] {};
  when_wound_down_ = nullptr;
  if (is_busy()) cancel_all();
  lifespan_.reset();
  loop_->close();
  reactor_->remove_timeouts(context_->unanswered);
}

Result<void> AsgiApplication::start(http::Reactor& reactor, std::function<void()> on_progress) {
  if (auto attached = loop_->attach(reactor); !attached) return attached;
  context_->on_reply = std::move(on_progress);
  reactor.add_timeouts(context_->unanswered);
  reactor_ = &reactor;
  return {};
}

std::expected<void, LoadFailure> AsgiApplication::start_up() {
  try {
    const py::object lifespan =
        asgi_helpers().attr("Lifespan")(borrowed(context_->application), settings_.lifespan);
    state_ = taken(lifespan.attr("state"));
    const py::object starting = lifespan.attr("start")();
    const PyRef started = loop_->run_until_complete(starting.ptr());
    if (started) lifespan_ = taken(lifespan);
    if (!started && PyErr_Occurred() != nullptr) throw py::error_already_set();
  } catch (py::error_already_set& error) {
    const bool is_said = error.matches(asgi_helpers().attr("StartUpFailed"));
    const std::string said = is_said ? py::str(error.value()).cast<std::string>() : std::string();
    error.restore();
    const std::string traceback = take_traceback();
    return std::unexpected(LoadFailure{
        StartFailure::application,
        "the application's start-up (lifespan) failed\n" + (is_said ? said : traceback)});
  }
  return {};
}

void AsgiApplication::call(http::Exchange& exchange) {
  if (!scope_.is_mounted(exchange.request())) return answer_not_found(exchange);
  if (settings_.max_concurrency > 0 &&
      calls_.size() + websockets_.count() >= static_cast<std::size_t>(settings_.max_concurrency))
    return answer_busy(exchange);
  if (http::asks_for_websocket(exchange.request()))
    return websockets_.open(exchange, scope_.build(exchange.request(), state_.get()));
  if (free_.empty()) free_.push_back(std::make_unique<AsgiCall>(*context_));
  AsgiCall& call = *free_.back();
  call.index_in_application = calls_.size();
  calls_.push_back(std::move(free_.back()));
  free_.pop_back();
  call.open(exchange, scope_.build(exchange.request(), state_.get()));
}

/// For what is outside of script_name: not the application's.
void AsgiApplication::answer_not_found(http::Exchange& exchange) const {
  if (!exchange.start(404, "Not Found", plain_text)) return exchange.abort();
  exchange.finish("404 Not Found: this site is served under another path\n");
  context_->on_reply();
}

void AsgiApplication::answer_busy(http::Exchange& exchange) {
  constexpr std::array headers{plain_text[0], http::Header{"Retry-After", "1"}};
  if (!exchange.start(503, "Service Unavailable", headers)) return exchange.abort();
  exchange.finish("503 Service Unavailable: too many requests at a time\n");
}

void AsgiApplication::call_ended(AsgiCall& call) {
  const std::size_t index = call.index_in_application;
  free_.push_back(std::move(calls_[index]));
  if (index + 1 != calls_.size()) {
    calls_[index] = std::move(calls_.back());
    calls_[index]->index_in_application = index;
  }
  calls_.pop_back();
  wind_down_if_idle();
}

void AsgiApplication::wind_down_if_idle() {
  if (!is_busy() && when_wound_down_) shut_down();
}

CallsUnderWay AsgiApplication::under_way() const {
  CallsUnderWay result{.count = calls_.size(), .oldest_usec = 0};
  if (const auto deadline = context_->unanswered.next_deadline())
    result.oldest_usec = *deadline - static_cast<std::uint64_t>(timeout_of(settings_).count());
  return result;
}

CallDetails AsgiApplication::details() const {
  CallDetails details;
  for (const auto& call : calls_)
    if (call->is_answered())
      details.background.push_back({.since_usec = call->begun_usec(), .name = call->name()});
  return details;
}

void AsgiApplication::cancel_all() {
  log_warning("{} requests are not finished: their tasks are cancelled",
              calls_.size() + websockets_.count());
  for (const auto& call : calls_) call->give_up();
  websockets_.give_up();
}

void AsgiApplication::drain() {
  drain_began_usec_ = monotonic_usec();
  // Those that would never end of themselves (event streams) get their end before greend makes one
  // of the worker, and the application's shut-down the rest of the time.
  reactor_->call_after(settings_.graceful_timeout * 4 / 5, [this] {
    if (is_busy()) cancel_all();
  });
}

void AsgiApplication::wind_down(const std::function<void()>& done) {
  when_wound_down_ = done;
  if (!is_busy()) shut_down();
}

void AsgiApplication::shut_down() {
  if (!lifespan_) return shut_down_is_done();
  static PyMethodDef method{"green_shut_down", call_function, METH_O, nullptr};
  const Microseconds passed(static_cast<std::int64_t>(monotonic_usec() - drain_began_usec_));
  const auto limit = std::max(shortest_shut_down, settings_.graceful_timeout * 9 / 10 - passed);
  is_shut_down_ = [this] { shut_down_is_done(); };
  try {
    const py::object stopping = borrowed(lifespan_).attr("stop")(in_seconds(limit));
    shut_down_task_ = loop_->create_task(stopping.ptr(), taken(py::str("lifespan shutdown")));
    if (!shut_down_task_) throw py::error_already_set();
    const py::capsule self(&is_shut_down_);
    borrowed(shut_down_task_)
        .attr("add_done_callback")(
            py::reinterpret_steal<py::object>(PyCFunction_New(&method, self.ptr())));
  } catch (py::error_already_set& error) {
    error.restore();
    log_error("the application's shut-down (lifespan): {}", take_traceback());
    shut_down_is_done();
  }
}

void AsgiApplication::shut_down_is_done() {
  if (const PyRef task = std::move(shut_down_task_); task) {
    const PyRef said = PyRef::steal(PyObject_CallMethod(task.get(), "result", nullptr));
    if (!said)
      log_error("the application's shut-down (lifespan) failed\n{}", take_traceback());
    else if (said.get() != Py_None)
      log_error("the application's shut-down (lifespan) failed\n{}",
                py::str(said.get()).cast<std::string>());
  }
  if (const auto done = std::exchange(when_wound_down_, nullptr)) done();
  loop_->note_stop();
}

}  // namespace green::python
