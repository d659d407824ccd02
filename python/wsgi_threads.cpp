#include "python/wsgi_threads.h"

#include <fmt/format.h>
#include <pybind11/pybind11.h>
#include <sys/epoll.h>

#include "common/log.h"
#include "common/scoreboard.h"
#include "daemon/http/date_line.h"
#include "daemon/http/response_writer.h"
#include "python/traceback.h"

namespace green::python {
namespace {

namespace py = pybind11;

}  // namespace

WsgiThreads::WsgiThreads(PyObject* application, bool multiprocess, std::size_t threads,
                         LastTraceback& last_traceback, const std::string& script_name) {
  for (std::size_t i = 0; i < threads; ++i) {
    threads_.push_back(std::make_unique<Thread>());
    threads_.back()->application = std::make_unique<WsgiApplication>(
        PyRef::borrow(application), Concurrency{.processes = multiprocess, .threads = true},
        last_traceback, script_name);
  }
}

WsgiThreads::~WsgiThreads() {
  replies_.close();
  {
    const std::scoped_lock lock(mutex_);
    is_stopping_ = true;
  }
  work_came_.notify_all();
  wait_for_threads();
  if (reactor_ != nullptr) reactor_->remove(replies_.fd(), *this);
}

Result<void> WsgiThreads::start(http::Reactor& reactor, std::function<void()> on_progress) {
  if (auto opened = replies_.open(); !opened) return opened;
  if (auto added = reactor.add(replies_.fd(), EPOLLIN, *this); !added) return added;
  reactor_ = &reactor;
  on_progress_ = std::move(on_progress);
  auto signals = SignalWatch::start(reactor);
  if (!signals) return fail(std::move(signals.error()));
  signals_ = std::move(*signals);
  try {
    for (std::size_t i = 0; i < threads_.size(); ++i) start_thread(i);
  } catch (py::error_already_set& error) {
    error.restore();
    return fail(ErrorCode::unavailable,
                fmt::format("starting {} threads: {}", threads_.size(), take_exception_line()));
  }
  return {};
}

/// By way of the threading module: names, profilers and threading.local know it then.
void WsgiThreads::start_thread(std::size_t index) {
  Thread& thread = *threads_[index];
  py::object object =
      py::module_::import("threading")
          .attr("Thread")(py::arg("target") = py::cpp_function([this, &thread] { run(thread); }),
                          py::arg("name") = fmt::format("green-{}", index + 1),
                          py::arg("daemon") = true);
  {
    const std::scoped_lock lock(mutex_);
    ++running_threads_;
  }
  try {
    object.attr("start")();
  } catch (...) {
    const std::scoped_lock lock(mutex_);
    --running_threads_;
    throw;
  }
  thread.object = PyRef::steal(object.release().ptr());
}

/// Not by join() alone: one that a signal's handler interrupts takes the thread for ended.
void WsgiThreads::wait_for_threads() {
  PyThreadState* const state = PyEval_SaveThread();
  {
    std::unique_lock lock(mutex_);
    thread_ended_.wait(lock, [this] { return running_threads_ == 0; });
  }
  PyEval_RestoreThread(state);
  run_signal_handlers();
  // What is left of them is Python's own.
  for (const auto& thread : threads_) {
    if (!thread->object) continue;
    const PyRef joined = PyRef::steal(PyObject_CallMethod(thread->object.get(), "join", nullptr));
    if (!joined) log_error("waiting for a thread's end: {}", take_exception_line());
  }
}

void WsgiThreads::run(Thread& thread) noexcept {
  http::DateLine date;
  http::ResponseWriter checker(date);
  while (ThreadedExchange* const exchange = next_call()) {
    exchange->begin_call(checker, monotonic_usec());
    thread.application->call(*exchange);
    exchange->end_call();
  }
  const std::scoped_lock lock(mutex_);
  --running_threads_;
  thread_ended_.notify_all();
}

ThreadedExchange* WsgiThreads::next_call() {
  {
    const std::scoped_lock lock(mutex_);
    if (is_stopping_) return nullptr;
    if (!waiting_.empty()) return take_waiting();
  }
  ThreadedExchange* exchange = nullptr;
  PyThreadState* const state = PyEval_SaveThread();
  {
    std::unique_lock lock(mutex_);
    work_came_.wait(lock, [this] { return is_stopping_ || !waiting_.empty(); });
    if (!is_stopping_) exchange = take_waiting();
  }
  PyEval_RestoreThread(state);
  return exchange;
}

ThreadedExchange* WsgiThreads::take_waiting() {
  ThreadedExchange* const exchange = waiting_.front();
  waiting_.pop_front();
  return exchange;
}

void WsgiThreads::call(http::Exchange& exchange) {
  if (free_.empty()) {
    exchanges_.push_back(std::make_unique<ThreadedExchange>(replies_));
    free_.push_back(exchanges_.back().get());
  }
  ThreadedExchange* const threaded = free_.back();
  free_.pop_back();
  threaded->open(exchange, monotonic_usec());
  {
    const std::scoped_lock lock(mutex_);
    waiting_.push_back(threaded);
  }
  work_came_.notify_one();
}

CallsUnderWay WsgiThreads::under_way() const {
  CallsUnderWay result{.count = exchanges_.size() - free_.size(), .oldest_usec = 0};
  for (const auto& exchange : exchanges_) {
    const std::uint64_t since = exchange->running_since_usec();
    if (since != 0 && (result.oldest_usec == 0 || since < result.oldest_usec))
      result.oldest_usec = since;
  }
  return result;
}

CallDetails WsgiThreads::details() const {
  CallDetails details;
  const std::scoped_lock lock(mutex_);
  for (const ThreadedExchange* const one : waiting_) details.waiting.push_back(one->passes_to());
  return details;
}

std::vector<std::string> WsgiThreads::give_up_calls(std::uint64_t begun_by_usec, bool waiting_too) {
  std::vector<std::string> names;
  for (const auto& exchange : exchanges_) {
    std::uint64_t since = exchange->running_since_usec();
    if (since == 0 && waiting_too) since = exchange->waiting_since_usec();
    if (since == 0 || since > begun_by_usec || exchange->is_given_up()) continue;
    names.push_back(exchange->give_up_call());
  }
  return names;
}

void WsgiThreads::on_events(std::uint32_t) {
  replies_.take(news_);
  for (auto& [exchange, news] : news_)
    if (!exchange->deliver(news)) free_.push_back(exchange);
  news_.clear();
  on_progress_();
}

}  // namespace green::python
