#include "python/wsgi_application.h"

#include <pybind11/pybind11.h>

#include "common/log.h"
#include "python/application_fork.h"
#include "python/client_gone.h"
#include "python/early_hints.h"
#include "python/file_wrapper.h"
#include "python/start_response.h"
#include "python/traceback.h"
#include "python/wsgi_errors.h"
#include "python/wsgi_input.h"

namespace green::python {
namespace {

constexpr std::size_t logged_target_size = 1024;

/// Sequences whose items can be had without an iterator, and that have no close().
bool is_list_or_tuple(PyObject* object) {
  return PyList_CheckExact(object) || PyTuple_CheckExact(object);
}

/// For what is outside of script_name: not the application's.
void answer_not_found(http::Exchange& exchange) {
  const http::Request& request = exchange.request();
  log_info("{} {}: 404, it is not under script_name", request.method,
           request.path.substr(0, logged_target_size));
  const http::Header plain_text{"Content-Type", "text/plain; charset=utf-8"};
  if (!exchange.start(404, "Not Found", {&plain_text, 1})) return exchange.abort();
  exchange.finish("404 Not Found: this site is served under another path\n");
}

}  // namespace

WsgiApplication::WsgiApplication(PyRef application, Concurrency concurrency,
                                 LastTraceback& last_traceback, const std::string& script_name)
    : application_(std::move(application)),
      environ_(concurrency, script_name),
      last_traceback_(last_traceback),
      close_name_(PyRef::steal(PyUnicode_InternFromString("close"))) {
  if (!close_name_) throw pybind11::error_already_set();
}

void WsgiApplication::call(http::Exchange& exchange) {
  if (!environ_.is_mounted(exchange.request())) return answer_not_found(exchange);
  const EarlyHintsScope hints(exchange);
  PyRef input = WsgiInput::create(*exchange.request().body, std::move(spare_input_));
  PyRef start_response = StartResponse::create(exchange, std::move(spare_start_response_));
  PyRef environ =
      input && start_response ? environ_.build(exchange.request(), input.get()) : PyRef();
  Call call{.exchange = exchange, .start_response = start_response.get()};
  const Outcome outcome = call_application(call, environ.get());
  if (outcome == Outcome::failed) report(exchange.request(), "the application failed");
  PyErr_Clear();  // of a client that is gone
  // The application may keep it; the request's body may not outlive finish().
  if (input) WsgiInput::detach(input.get());
  // The reply leaves before close(), where frameworks put work that the client need not wait for.
  if (outcome != Outcome::answered)
    exchange.abort();
  else if (call.file)
    exchange.finish_file(std::move(*call.file));
  else
    exchange.finish(call.rest);
  if (call.result) close_result(exchange.request(), call.result.get());
  call.result.reset();
  // Most applications keep none of these: they serve the next request then.
  const bool environ_is_kept = environ && environ_.give_back(std::move(environ));
  if (start_response) spare_start_response_ = StartResponse::detach(std::move(start_response));
  const Py_ssize_t our_holds = environ_is_kept ? 2 : 1;
  if (input && Py_REFCNT(input.get()) == our_holds) spare_input_ = std::move(input);
  flush_wsgi_errors();
}

WsgiApplication::Outcome WsgiApplication::call_application(Call& call, PyObject* environ) {
  if (environ == nullptr) return Outcome::failed;
  PyObject* arguments[] = {environ, call.start_response};
  call.result = PyRef::steal(PyObject_Vectorcall(application_.get(), arguments, 2, nullptr));
  end_if_forked();
  const Outcome outcome = call.result ? send_body(call) : Outcome::failed;
  // Whatever an application makes of our ConnectionResetError, it is not its fault.
  if (outcome == Outcome::failed && !call.exchange.client_connected() && raised_for_gone_client())
    return Outcome::client_gone;
  return outcome;
}

WsgiApplication::Outcome WsgiApplication::send_body(Call& call) {
  Outcome outcome = Outcome::answered;
  if (is_list_or_tuple(call.result.get()))
    outcome = send_items(call);
  else if (call.file = file_part_of(call.result.get()); !call.file)
    outcome = send_parts(call);
  if (outcome == Outcome::answered && !StartResponse::was_called(call.start_response)) {
    PyErr_SetString(PyExc_RuntimeError,
                    "the application returned without a call of start_response");
    return Outcome::failed;
  }
  return outcome;
}

WsgiApplication::Outcome WsgiApplication::send_items(Call& call) {
  PyObject* items = call.result.get();
  // A write may wait without the GIL, and other threads may have the list too.
  const auto count = [items] { return PySequence_Fast_GET_SIZE(items); };
  for (Py_ssize_t i = 0; i < count(); ++i) {
    const PyRef item = PyRef::borrow(PySequence_Fast_GET_ITEM(items, i));
    if (i + 1 < count()) {
      if (!send_body_part(call.exchange, call.start_response, item.get())) return Outcome::failed;
    } else if (!check_body_part(call.start_response, item.get(), call.rest)) {
      return Outcome::failed;
    }
  }
  return Outcome::answered;
}

WsgiApplication::Outcome WsgiApplication::send_parts(Call& call) {
  PyObject* iterable = call.result.get();
  // A str or bytes is iterable too, but by characters: surely not what was meant.
  if (PyUnicode_Check(iterable) || PyBytes_Check(iterable)) {
    PyErr_Format(PyExc_TypeError,
                 "the application must return an iterable of bytes, such as [body], not %s",
                 Py_TYPE(iterable)->tp_name);
    return Outcome::failed;
  }
  const PyRef iterator = PyRef::steal(PyObject_GetIter(iterable));
  if (!iterator) return Outcome::failed;
  for (;;) {
    const PyRef part = PyRef::steal(PyIter_Next(iterator.get()));
    end_if_forked();
    if (!part) return PyErr_Occurred() == nullptr ? Outcome::answered : Outcome::failed;
    if (!send_body_part(call.exchange, call.start_response, part.get())) return Outcome::failed;
  }
}

void WsgiApplication::report(const http::Request& request, std::string_view what) {
  std::string traceback = take_traceback();
  log_error("{} {}: {}\n{}", request.method, request.path.substr(0, logged_target_size), what,
            traceback);
  last_traceback_.set(std::move(traceback));
}

void WsgiApplication::close_result(const http::Request& request, PyObject* result) {
  if (is_list_or_tuple(result)) return;
  const PyRef close = PyRef::steal(PyObject_GetAttr(result, close_name_.get()));
  if (!close && PyErr_ExceptionMatches(PyExc_AttributeError) != 0) return PyErr_Clear();
  const PyRef closed = close ? PyRef::steal(PyObject_CallNoArgs(close.get())) : PyRef();
  end_if_forked();
  if (!closed) report(request, "close() of the application's reply failed");
}

}  // namespace green::python
