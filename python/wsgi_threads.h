// threads = N: a WSGI application called on a pool of N Python threads, beside the loop. The loop
// thread runs without the GIL then: it reads requests and sends replies while the pool runs Python.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "daemon/http/reactor.h"
#include "python/py_ref.h"
#include "python/reply_queue.h"
#include "python/runtime.h"
#include "python/signal_handlers.h"
#include "python/threaded_exchange.h"
#include "python/wsgi_application.h"

namespace green::python {

class WsgiThreads final : public SiteApplication, http::EventHandler {
 public:
  /// With the GIL. Throws pybind11::error_already_set. `last_traceback` outlives this.
  WsgiThreads(PyObject* application, bool multiprocess, std::size_t threads,
              LastTraceback& last_traceback, const std::string& script_name);
  /// With the GIL. Waits for the calls that run; those that wait for a thread are not answered.
  ~WsgiThreads() override;

  Calls calls() const override { return Calls::on_threads; }
  /// With the GIL.
  Result<void> start(http::Reactor& reactor, std::function<void()> on_progress) override;
  // Loop thread.
  void call(http::Exchange& exchange) override;
  CallsUnderWay under_way() const override;
  CallDetails details() const override;
  std::vector<std::string> give_up_calls(std::uint64_t begun_by_usec, bool waiting_too) override;

 private:
  /// One thread's part. A WsgiApplication each: what it keeps from call to call is not shared.
  struct Thread {
    std::unique_ptr<WsgiApplication> application;
    PyRef object{};  ///< its threading.Thread
  };

  void on_events(std::uint32_t events) override;
  void start_thread(std::size_t index);
  void wait_for_threads();
  /// The whole life of a pool thread; with the GIL.
  void run(Thread& thread) noexcept;
  /// Waits, without the GIL. Null: the pool ends.
  ThreadedExchange* next_call();
  ThreadedExchange* take_waiting();

  std::vector<std::unique_ptr<Thread>> threads_;
  ReplyQueue replies_;
  std::unique_ptr<SignalWatch> signals_;
  // The loop thread's.
  http::Reactor* reactor_ = nullptr;
  std::function<void()> on_progress_;
  std::vector<std::unique_ptr<ThreadedExchange>> exchanges_;
  std::vector<ThreadedExchange*> free_;
  std::vector<ReplyQueue::Item> news_;
  // Under the mutex.
  mutable std::mutex mutex_;
  std::condition_variable work_came_;
  std::deque<ThreadedExchange*> waiting_;
  bool is_stopping_ = false;
  std::size_t running_threads_ = 0;
  std::condition_variable thread_ended_;
};

}  // namespace green::python
