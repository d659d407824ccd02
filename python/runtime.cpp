// The Runtime over CPython. Main thread of a zygote or worker.
#include "python/runtime.h"

#include <pybind11/embed.h>

#include <csignal>
#include <new>
#include <set>

#include "common/log.h"
#include "python/app_loader.h"
#include "python/application_fork.h"
#include "python/application_output.h"
#include "python/asgi_application.h"
#include "python/fork_hazards.h"
#include "python/green_module.h"
#include "python/heap_holes.h"
#include "python/interface.h"
#include "python/interpreter.h"
#include "python/last_traceback.h"
#include "python/signal_handlers.h"
#include "python/traceback.h"
#include "python/wsgi_application.h"
#include "python/wsgi_threads.h"

namespace green::python {
namespace {

namespace py = pybind11;

/// What faulthandler found is what it puts back when the interpreter ends: by default, a signal on
/// its way then would end the process amid its end.
void ignore_after_finalize(int number) {
  struct sigaction found{};
  ::sigaction(number, nullptr, &found);
  if ((found.sa_flags & SA_SIGINFO) == 0 && found.sa_handler == SIG_DFL) ::signal(number, SIG_IGN);
}

class CPythonRuntime final : public Runtime {
 public:
  CPythonRuntime(const Settings& settings, std::set<unsigned long> known_sockets)
      : settings_(settings), known_sockets_(std::move(known_sockets)) {}
  // Without finalize() (an error path, a process about to end) the interpreter stays, and with it
  // whatever we hold of it.
  ~CPythonRuntime() override { static_cast<void>(application_.release()); }

  std::expected<void, LoadFailure> load_application() override {
    auto loaded = python::load_application(settings_.app);
    end_if_forked();
    if (!loaded) return std::unexpected(loaded.error());
    auto interface = choose_interface(settings_, loaded->get());
    if (!interface) return std::unexpected(interface.error());
    interface_ = *interface;
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
      // What each worker would import for itself, which dirties a megabyte of what they share.
      for (const char* name : {"wsgiref.util", "threading"}) py::module_::import(name);
      if (interface_ == Interface::asgi) asgi_helpers().attr("import_loop")(settings_.loop);
      py::module_ gc = py::module_::import("gc");
      gc.attr("collect")();
      gc.attr("freeze")();
      if (const auto filled = fill_heap_holes(); !filled)
        log_warning("preparing the forks failed, so workers share less memory: {}",
                    filled.error().message());
    } catch (py::error_already_set& error) {
      error.restore();
      log_warning("preparing the forks failed, so workers share less memory: {}",
                  take_exception_line());
    } catch (const std::bad_alloc&) {
      log_warning("preparing the forks failed, so workers share less memory: out of memory");
    }
  }

  void before_fork() override {
    finish_application_text();  // once, and not by each child
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
    ignore_after_finalize(dump_signal);
    try {
      py::module_ faulthandler = py::module_::import("faulthandler");
      faulthandler.attr("enable")(fd, true);
      faulthandler.attr("register")(dump_signal, fd, true, false);
    } catch (py::error_already_set& error) {
      error.restore();
      log_warning("stacks will not be shown on a crash or a timeout: {}", take_exception_line());
    }
  }

  void dump_stacks_on(int number, int fd) override {
    ignore_after_finalize(number);
    try {
      py::module_::import("faulthandler").attr("register")(number, fd, true, false);
    } catch (py::error_already_set& error) {
      error.restore();
      log_warning("stacks can't be asked for: {}", take_exception_line());
    }
  }

  std::expected<std::unique_ptr<SiteApplication>, LoadFailure> make_application(
      bool multiprocess, std::size_t threads) override {
    try {
      if (interface_ == Interface::asgi)
        return std::make_unique<AsgiApplication>(PyRef::borrow(application_.get()), settings_,
                                                 last_traceback_);
      if (threads > 1)
        return std::make_unique<WsgiThreads>(application_.get(), multiprocess, threads,
                                             last_traceback_, settings_.script_name);
      return std::make_unique<WsgiApplication>(
          PyRef::borrow(application_.get()),
          Concurrency{.processes = multiprocess, .threads = false}, last_traceback_,
          settings_.script_name);
    } catch (py::error_already_set& error) {
      error.restore();
      return std::unexpected(LoadFailure{StartFailure::application, take_traceback()});
    } catch (std::runtime_error& error) {
      return std::unexpected(LoadFailure{StartFailure::configuration, error.what()});
    }
  }

  void without_gil(const std::function<void()>& blocking) override {
    PyThreadState* state = PyEval_SaveThread();
    blocking();
    PyEval_RestoreThread(state);
    run_signal_handlers();
  }

  std::string take_last_traceback() override { return last_traceback_.take(); }

  void finalize() override {
    application_.reset();
    finish_application_text();
    if (Py_FinalizeEx() < 0) log_debug("what Python had buffered could not be written at its end");
  }

 private:
  const Settings settings_;
  Interface interface_ = Interface::wsgi;
  std::set<unsigned long> known_sockets_;
  PyRef application_;
  LastTraceback last_traceback_;
};

}  // namespace

pid_t thread_with_gil() {
  const PyThreadState* const state = _PyThreadState_UncheckedGet();
  return state == nullptr ? 0 : static_cast<pid_t>(state->native_thread_id);
}

std::expected<std::unique_ptr<Runtime>, LoadFailure> Runtime::create(const Settings& settings) {
  auto known_sockets = open_sockets();
  if (auto started = start_interpreter(settings); !started) return std::unexpected(started.error());
  watch_for_forks();
  return std::make_unique<CPythonRuntime>(settings, std::move(known_sockets));
}

}  // namespace green::python
