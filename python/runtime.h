// The one Python-free header of python/: what a worker process needs of the embedded interpreter.
// All calls on the thread that made the Runtime, which holds the GIL except inside without_gil().
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/result.h"
#include "common/settings.h"
#include "common/worker_spec.h"
#include "daemon/http/application.h"
#include "daemon/http/reactor.h"

namespace green::python {

/// Why an application could not be loaded.
struct LoadFailure {
  StartFailure kind;
  std::string text;  ///< one line for `configuration`; the full traceback for `application`
};

/// Calls that were given to an application and are not over.
struct CallsUnderWay {
  std::size_t count = 0;
  std::uint64_t oldest_usec = 0;  ///< CLOCK_MONOTONIC at the start of the oldest that runs; 0: none
};

/// What only the application's side knows of the calls it has.
struct CallDetails {
  /// Answered, but the call goes on.
  struct Background {
    std::uint64_t since_usec = 0;  ///< CLOCK_MONOTONIC at the call's start
    std::string name;              ///< "GET /path"
  };
  std::vector<const http::Exchange*> waiting{};  ///< for a thread
  std::vector<Background> background{};
};

/// Where an application's calls run.
enum class Calls {
  in_place,    ///< on the loop thread, until call() returns
  on_threads,  ///< of a pool (threads = N)
  as_tasks,    ///< of an asyncio event loop on the loop thread (ASGI)
};

/// The site's application behind the HTTP seam.
class SiteApplication : public http::Application {
 public:
  virtual Calls calls() const = 0;
  /// Where calls go on after call() has returned: before the first, starts what runs them.
  /// `on_progress` is called on the loop thread whenever some were answered or have ended.
  virtual Result<void> start(http::Reactor& reactor, std::function<void()> on_progress) = 0;
  /// What the application does in each worker before its first request (ASGI's lifespan). After
  /// start(); the reactor turns meanwhile. Returns early where that is stopped.
  virtual std::expected<void, LoadFailure> start_up() { return {}; }
  /// Turns the reactor, until it is stopped or fails.
  virtual Result<void> run_loop(http::Reactor& reactor) { return reactor.run(); }
  /// The worker drains from here on.
  virtual void drain() {}
  /// Every reply is over: waits for calls that go on all the same, and ends what start_up() began.
  virtual void wind_down(const std::function<void()>& done) { done(); }
  /// Loop thread.
  virtual CallsUnderWay under_way() const = 0;
  /// Loop thread.
  virtual CallDetails details() const { return {}; }
  /// Loop thread. Gives up calls that run on threads and began at `begun_by_usec` or before, and,
  /// with `waiting_too`, those that have waited for a thread since then: their clients get 504, or
  /// are cut off. Returns which, as "GET /path"; each once. What they run goes on.
  virtual std::vector<std::string> give_up_calls(std::uint64_t begun_by_usec, bool waiting_too) = 0;
};

/// The kernel's number of the thread that holds the GIL; 0: none does. Async-signal-safe.
pid_t thread_with_gil();

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

  /// Imports what workers need beside the application, then gc.collect(), gc.freeze() and
  /// fill_heap_holes(): keeps the pages that workers share shared. In the zygote, before forks.
  virtual void freeze() = 0;

  /// Around fork(2): PyOS_BeforeFork / PyOS_AfterFork_*, so that os.register_at_fork hooks run.
  virtual void before_fork() = 0;
  virtual void after_fork_parent() = 0;
  virtual void after_fork_child() = 0;

  /// Stacks on a crash (SIGSEGV, SIGABRT, …) and on `dump_signal` go to `fd`, which must stay open.
  /// Again after anything that may have set handlers of its own (the import).
  virtual void enable_stack_dumps(int dump_signal, int fd) = 0;

  /// Stacks on `number` go to `fd`, which must stay open. Before make_application().
  virtual void dump_stacks_on(int number, int fd) = 0;

  /// The loaded application; it must go before finalize(). `multiprocess`, for wsgi.multiprocess.
  /// `threads` 1: called on this thread, with the GIL. More: called on as many threads of its own,
  /// and this thread must not hold the GIL while its loop runs. An ASGI application: called as
  /// tasks of an event loop, which is made here. A child that the application forks in a request
  /// and that returns is ended.
  virtual std::expected<std::unique_ptr<SiteApplication>, LoadFailure> make_application(
      bool multiprocess, std::size_t threads) = 0;

  /// Runs `blocking` with the GIL released, so that the application's threads run. Then the
  /// application's handlers of signals that came meanwhile.
  virtual void without_gil(const std::function<void()>& blocking) = 0;

  /// Text of the last exception an exchange raised; cleared by reading. For probes.
  virtual std::string take_last_traceback() = 0;

  /// atexit handlers, threading shutdown; then the interpreter is gone.
  virtual void finalize() = 0;
};

}  // namespace green::python
