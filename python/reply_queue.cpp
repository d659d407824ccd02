#include "python/reply_queue.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdint>

#include "common/high_fd.h"
#include "python/threaded_exchange.h"

namespace green::python {

Result<void> ReplyQueue::open() {
  auto wake = move_high(Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)));
  if (!wake) return fail(std::move(wake.error()).context("an eventfd for replies"));
  wake_ = std::move(*wake);
  return {};
}

void ReplyQueue::post(ThreadedExchange& exchange, const std::function<void(ReplyNews&)>& add) {
  bool must_wake = false;
  {
    const std::scoped_lock lock(mutex_);
    if (is_closed_) return;
    add(exchange.news_);
    if (!std::exchange(exchange.has_news_, true)) {
      must_wake = ready_.empty();  // otherwise it was woken, and has not looked yet
      ready_.push_back(&exchange);
    }
  }
  if (!must_wake) return;
  const std::uint64_t one = 1;
  // Can only fail when the counter is full: then it is readable all the same.
  [[maybe_unused]] const ssize_t written = ::write(wake_.get(), &one, sizeof one);
}

bool ReplyQueue::wait_until_taken(const ThreadedExchange& exchange) {
  std::unique_lock lock(mutex_);
  taken_.wait(lock, [&] { return is_closed_ || !exchange.has_news_; });
  return !is_closed_;
}

void ReplyQueue::take(std::vector<Item>& items) {
  std::uint64_t count = 0;
  [[maybe_unused]] const ssize_t size = ::read(wake_.get(), &count, sizeof count);
  items.clear();
  {
    const std::scoped_lock lock(mutex_);
    for (ThreadedExchange* exchange : ready_) {
      items.push_back({exchange, std::exchange(exchange->news_, {})});
      exchange->has_news_ = false;
    }
    ready_.clear();
  }
  taken_.notify_all();
}

void ReplyQueue::close() {
  {
    const std::scoped_lock lock(mutex_);
    is_closed_ = true;
    ready_.clear();
  }
  taken_.notify_all();
}

}  // namespace green::python
