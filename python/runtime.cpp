// The Runtime over CPython. Main thread of a zygote or worker.
#include "python/runtime.h"

#include <pybind11/embed.h>

#include <set>

#include "common/log.h"
#include "python/app_loader.h"
#include "python/application_fork.h"
#include "python/fork_hazards.h"
#include "python/interpreter.h"
#include "python/last_traceback.h"
#include "python/traceback.h"
#include "python/wsgi_application.h"
#include "python/wsgi_threads.h"

namespace green::python {
namespace {

namespace py = pybind11;

class CPythonRuntime final : public Runtime {
 public:
  CPythonRuntime(const Settings& settings, std::set<unsigned long> known_sockets)
      : app_(settings.app),
        script_name_(settings.script_name),
        known_sockets_(std::move(known_sockets)) {}
  // Without finalize() (an error path, a process about to end) the interpreter stays, and with it
  // whatever we hold of it.
  ~CPythonRuntime() override { static_cast<void>(application_.release()); }

  std::expected<void, LoadFailure> load_application() override {
    auto loaded = python::load_application(app_);
    end_if_forked();
    if (!loaded) return std::unexpected(loaded.error());
    application_ = std::move(*loaded);
    return {};
  }

  std::vector<std::string> fork_hazards() override {
    try {
      return find_fork_hazards(known_sockets_);
    } catch (py::error_already_set& error) {
      error.restore();
      return {"threads unknown: " + take_exception_line()};
    }
  }

  void freeze() override {
    try {
      py::module_ gc = py::module_::import("gc");
      gc.attr("collect")();
      gc.attr("freeze")();
    } catch (py::error_already_set& error) {
      error.restore();
      log_warning("gc.freeze failed, so workers share less memory: {}", take_exception_line());
    }
  }

  void before_fork() override {
    set_own_fork(true);
    PyOS_BeforeFork();
  }
  void after_fork_parent() override {
    PyOS_AfterFork_Parent();
    set_own_fork(false);
  }
  void after_fork_child() override {
    PyOS_AfterFork_Child();
    set_own_fork(false);
  }

  void enable_stack_dumps(int dump_signal, int fd) override {
    try {
      py::module_ faulthandler = py::module_::import("faulthandler");
      faulthandler.attr("enable")(fd, true);
      faulthandler.attr("register")(dump_signal, fd, true, false);
    } catch (py::error_already_set& error) {
      error.restore();
      log_warning("stacks will not be shown on a crash or a timeout: {}", take_exception_line());
    }
  }

  std::expected<std::unique_ptr<SiteApplication>, LoadFailure> make_application(
      bool multiprocess, std::size_t threads) override {
    try {
      if (threads > 1)
        return std::make_unique<WsgiThreads>(application_.get(), multiprocess, threads,
                                             last_traceback_, script_name_);
      return std::make_unique<WsgiApplication>(
          PyRef::borrow(application_.get()),
          Concurrency{.processes = multiprocess, .threads = false}, last_traceback_, script_name_);
    } catch (py::error_already_set& error) {
      error.restore();
      return std::unexpected(LoadFailure{StartFailure::application, take_traceback()});
    }
  }

  void without_gil(const std::function<void()>& blocking) override {
    PyThreadState* state = PyEval_SaveThread();
    blocking();
    PyEval_RestoreThread(state);
  }

  std::string take_last_traceback() override { return last_traceback_.take(); }

  void finalize() override {
    application_.reset();
    if (Py_FinalizeEx() < 0) log_debug("what Python had buffered could not be written at its end");
  }

 private:
  std::string app_;
  std::string script_name_;
  std::set<unsigned long> known_sockets_;
  PyRef application_;
  LastTraceback last_traceback_;
};

}  // namespace

std::expected<std::unique_ptr<Runtime>, LoadFailure> Runtime::create(const Settings& settings) {
  auto known_sockets = open_sockets();
  if (auto started = start_interpreter(settings); !started) return std::unexpected(started.error());
  watch_for_forks();
  return std::make_unique<CPythonRuntime>(settings, std::move(known_sockets));
}

}  // namespace green::python
