// The one Python-free header of python/: what a worker process needs of the embedded interpreter.
// All calls on the thread that made the Runtime, which holds the GIL except inside without_gil().
#pragma once

#include <expected>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/settings.h"
#include "common/worker_spec.h"
#include "daemon/http/application.h"

namespace green::python {

/// Why an application could not be loaded.
struct LoadFailure {
  StartFailure kind;
  std::string text;  ///< one line for `configuration`; the full traceback for `application`
};

class Runtime {
 public:
  /// Starts the interpreter for `settings` (python, pythonpath, chdir and env are applied: this
  /// process is the site's from here on). Fails on an unusable venv or one of another minor
  /// version.
  static std::expected<std::unique_ptr<Runtime>, LoadFailure> create(const Settings& settings);
  virtual ~Runtime() = default;

  /// Imports settings.app. Returns in the process that called it alone: a child that the
  /// application forked meanwhile, and that comes back here, is ended.
  virtual std::expected<void, LoadFailure> load_application() = 0;

  /// What the import left that does not survive a fork: "thread 'poller'", "socket 127.0.0.1:5432
  /// (fd 9)".
  virtual std::vector<std::string> fork_hazards() = 0;

  /// gc.collect() and gc.freeze(): keeps the pages that workers share shared. In the zygote, before
  /// forks.
  virtual void freeze() = 0;

  /// Around fork(2): PyOS_BeforeFork / PyOS_AfterFork_*, so that os.register_at_fork hooks run.
  virtual void before_fork() = 0;
  virtual void after_fork_parent() = 0;
  virtual void after_fork_child() = 0;

  /// Stacks on a crash (SIGSEGV, SIGABRT, …) and on `dump_signal` go to `fd`, which must stay open.
  /// Again after anything that may have set handlers of its own (the import).
  virtual void enable_stack_dumps(int dump_signal, int fd) = 0;

  /// The loaded application behind the HTTP seam; it must go before finalize(). `multiprocess`, for
  /// wsgi.multiprocess. A child that the application forks in a request and that returns is ended.
  virtual std::expected<std::unique_ptr<http::Application>, LoadFailure> make_application(
      bool multiprocess) = 0;

  /// Runs `blocking` with the GIL released, so that the application's threads run.
  virtual void without_gil(const std::function<void()>& blocking) = 0;

  /// Text of the last exception an exchange raised; cleared by reading. For probes.
  virtual std::string take_last_traceback() = 0;

  /// atexit handlers, threading shutdown; then the interpreter is gone.
  virtual void finalize() = 0;
};

}  // namespace green::python
