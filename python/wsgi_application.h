// A WSGI application (PEP 3333), called where call() is: on the loop thread, or, one of these each,
// on the threads of a pool (wsgi_threads.h). With the GIL.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "daemon/http/application.h"
#include "python/last_traceback.h"
#include "python/py_ref.h"
#include "python/runtime.h"
#include "python/wsgi_environ.h"

namespace green::python {

class WsgiApplication final : public SiteApplication {
 public:
  /// The traceback of a failed call also goes to `last_traceback`, which must outlive this.
  /// Throws pybind11::error_already_set.
  WsgiApplication(PyRef application, Concurrency concurrency, LastTraceback& last_traceback,
                  const std::string& script_name = {});

  Calls calls() const override { return Calls::in_place; }
  Result<void> start(http::Reactor&, std::function<void()>) override { return {}; }
  CallsUnderWay under_way() const override { return {}; }
  std::vector<std::string> give_up_calls(std::uint64_t, bool) override { return {}; }

  /// Answers before it returns. What the application raises (SystemExit and KeyboardInterrupt too:
  /// one request must not end a worker) is logged, and answered by 500 where nothing was sent yet.
  void call(http::Exchange& exchange) override;

 private:
  enum class Outcome { answered, failed, client_gone };

  /// One call under way.
  struct Call {
    http::Exchange& exchange;
    PyObject* start_response;
    PyRef result{};           ///< what the application returned
    std::string_view rest{};  ///< the body's last part, of `result`: sent with the end of the reply
    std::optional<http::FilePart> file{};  ///< or that
  };

  Outcome call_application(Call& call, PyObject* environ);
  Outcome send_body(Call& call);
  Outcome send_items(Call& call);
  Outcome send_parts(Call& call);
  /// Takes the exception that is set: logs it as one entry that names the request.
  void report(const http::Request& request, std::string_view what);
  /// PEP 3333: close() of what the application returned, whatever happened to it.
  void close_result(const http::Request& request, PyObject* result);

  PyRef application_;
  WsgiEnviron environ_;
  LastTraceback& last_traceback_;
  PyRef close_name_;
  PyRef spare_input_;
  PyRef spare_start_response_;
};

}  // namespace green::python
