// An exchange whose application runs on a pool thread. That thread answers this one, which checks
// at once what the application must be told of; the loop thread, which alone may touch the
// connection's exchange, passes the answer on.
#pragma once

#include <atomic>
#include <optional>
#include <string>
#include <string_view>

#include "daemon/http/application.h"
#include "daemon/http/response_writer.h"
#include "python/reply_queue.h"

namespace green::python {

class ThreadedExchange final : public http::Exchange {
 public:
  /// `queue` outlives this.
  explicit ThreadedExchange(ReplyQueue& queue) : queue_(queue) {}

  // Loop thread.
  /// For the next call, of the connection's `exchange`.
  void open(http::Exchange& exchange, std::uint64_t now_usec);
  /// Passes on what is new. False once the call is over: this may be used for another.
  bool deliver(ReplyNews& news);
  /// CLOCK_MONOTONIC at begin_call(); 0: no call runs. Any thread.
  std::uint64_t running_since_usec() const {
    return running_since_usec_.load(std::memory_order_relaxed);
  }
  /// A client that still waits is answered with 504 or cut off. Returns what to call it in the log:
  /// "GET /path".
  std::string give_up_call();
  /// CLOCK_MONOTONIC at open(), until the reply is over; 0 from then on.
  std::uint64_t waiting_since_usec() const { return exchange_ == nullptr ? 0 : opened_usec_; }
  bool is_given_up() const { return is_given_up_; }
  /// The connection's exchange; null once that is answered.
  const http::Exchange* passes_to() const { return exchange_; }

  // Pool thread, with the GIL.
  /// Before the call. `checker` is the thread's own: it finds the errors that the connection would.
  void begin_call(http::ResponseWriter& checker, std::uint64_t now_usec);
  void end_call();
  /// Until finish(): the whole request. From then on its method and path alone.
  const http::Request& request() const override { return request_; }
  Result<void> start(int status, std::string_view reason,
                     std::span<const http::Header> headers) override;
  Result<void> send_interim(int status, std::span<const http::Header> headers) override;
  /// Past a bound, waits until the loop thread has taken what there is.
  Result<void> write(std::string_view data) override;
  void finish(std::string_view rest) override;
  using Exchange::finish;
  void finish_file(http::FilePart part) override;
  void abort() override;
  /// Not the application's to ask for.
  void give_up() override {}
  void give_up_answered() override {}
  bool head_sent() const override { return checker_->head_made(); }
  bool client_connected() const override { return !client_gone_.load(std::memory_order_relaxed); }

 private:
  friend class ReplyQueue;
  enum class Stage { open, finished };

  void keep_what_the_log_names();
  void pass_on_parts(const ReplyNews& news);
  void pass_on_end(ReplyNews& news);
  void finish_with(const std::function<void(ReplyNews&)>& add);

  ReplyQueue& queue_;
  // The loop thread's.
  http::Exchange* exchange_ = nullptr;  ///< null once it is answered
  bool is_given_up_ = false;
  std::uint64_t opened_usec_ = 0;
  // The pool thread's, during the call.
  http::Request request_;
  std::string method_;
  std::string path_;
  http::ResponseWriter* checker_ = nullptr;
  std::optional<ReplyNews::Head> head_;  ///< not handed over yet
  Stage stage_ = Stage::open;
  std::size_t waiting_size_ = 0;  ///< bytes handed over since the loop thread was last waited for
  // Both threads'.
  std::atomic<bool> client_gone_{false};
  std::atomic<std::uint64_t> running_since_usec_{0};
  // The queue's, under its lock.
  ReplyNews news_;
  bool has_news_ = false;
};

}  // namespace green::python
