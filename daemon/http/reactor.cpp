#include "daemon/http/reactor.h"

#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <limits>

#include "common/high_fd.h"

namespace green::http {
namespace {

std::uint64_t monotonic_now() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000 +
         static_cast<std::uint64_t>(now.tv_nsec) / 1'000;
}

// An urgent handler's address travels through epoll with its lowest bit set.
constexpr std::uint64_t urgent_bit = 1;

std::uint64_t tag(EventHandler& handler, Priority priority) {
  const auto address = reinterpret_cast<std::uintptr_t>(&handler);
  return priority == Priority::urgent ? address | urgent_bit : address;
}
EventHandler* untag(std::uint64_t data) {
  return reinterpret_cast<EventHandler*>(static_cast<std::uintptr_t>(data & ~urgent_bit));
}

}  // namespace

Deferred::~Deferred() {
  if (queued_in_ == nullptr) return;
  for (auto* queue : {&queued_in_->deferred_, &queued_in_->running_deferred_}) {
    std::replace(queue->begin(), queue->end(), this, static_cast<Deferred*>(nullptr));
  }
}

Result<std::unique_ptr<Reactor>> Reactor::create() {
  auto epoll = move_high(Fd(epoll_create1(EPOLL_CLOEXEC)));
  if (!epoll) return green::fail(std::move(epoll.error()).context("making an epoll descriptor"));
  return std::unique_ptr<Reactor>(new Reactor(std::move(*epoll)));
}

Reactor::Reactor(Fd epoll) : epoll_(std::move(epoll)), now_usec_(monotonic_now()) {
  block_ = [this] {
    block_result_ = epoll_wait(epoll_.get(), batch_.data(), static_cast<int>(batch_.size()),
                               block_timeout_msec_);
    block_errno_ = errno;
  };
}

Reactor::~Reactor() {
  for (auto* queue : {&deferred_, &running_deferred_}) {
    for (Deferred* work : *queue) {
      if (work != nullptr) work->queued_in_ = nullptr;
    }
  }
}

Result<void> Reactor::add(int fd, std::uint32_t events, EventHandler& handler, Priority priority) {
  epoll_event event{.events = events, .data = {.u64 = tag(handler, priority)}};
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
    return fail_errno(fmt::format("watching descriptor {}", fd));
  }
  return {};
}

Result<void> Reactor::modify(int fd, std::uint32_t events, EventHandler& handler,
                             Priority priority) {
  epoll_event event{.events = events, .data = {.u64 = tag(handler, priority)}};
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event) != 0) {
    return fail_errno(fmt::format("watching descriptor {}", fd));
  }
  return {};
}

void Reactor::remove(int fd, EventHandler& handler) {
  // A failure means that it is not watched any more, which is what is asked for.
  if (fd >= 0) epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
  for (int i = batch_next_; i < batch_count_; ++i) {
    auto& event = batch_[static_cast<std::size_t>(i)];
    if (untag(event.data.u64) == &handler) event.data.u64 = 0;
  }
}

void Reactor::defer(Deferred& work, Defer how) {
  if (how == Defer::wake) is_deferred_work_due_ = true;
  if (work.queued_in_ != nullptr) return;
  work.queued_in_ = this;
  deferred_.push_back(&work);
}

Reactor::TimerId Reactor::call_after(std::chrono::microseconds delay,
                                     std::function<void()> callback) {
  timers_.push_back({.id = ++last_timer_,
                     .deadline_usec = monotonic_now() + static_cast<std::uint64_t>(delay.count()),
                     .callback = std::move(callback)});
  return last_timer_;
}

void Reactor::cancel(TimerId id) {
  std::erase_if(timers_, [id](const Timer& timer) { return timer.id == id; });
}

void Reactor::add_timeouts(TimeoutList& list) { timeout_lists_.push_back(&list); }
void Reactor::remove_timeouts(TimeoutList& list) {
  // Not erased while turn() may be walking the lists.
  std::replace(timeout_lists_.begin(), timeout_lists_.end(), &list,
               static_cast<TimeoutList*>(nullptr));
}

void Reactor::set_blocking_wait(std::function<void(const Wait&)> wrapper) {
  blocking_wait_ = std::move(wrapper);
}

void Reactor::set_turn_callback(std::function<void(std::uint64_t)> callback,
                                std::chrono::microseconds longest_wait) {
  turn_callback_ = std::move(callback);
  longest_wait_ = longest_wait;
}

void Reactor::fail(Error error) {
  if (!failure_) failure_ = std::move(error);
}

Result<void> Reactor::run() {
  stopped_ = false;
  while (!stopped_) {
    if (auto turned = turn(true); !turned) return turned;
  }
  return {};
}

Result<void> Reactor::turn(bool may_block) {
  const auto count = wait(may_block);
  if (!count) return green::fail(count.error());
  const std::uint64_t begun_usec = now_usec_ = monotonic_now();
  ++turn_number_;
  if (turn_callback_) turn_callback_(begun_usec);
  dispatch(*count);
  run_deferred();
  // By index: what expires may add a list.
  for (std::size_t i = 0; i < timeout_lists_.size(); ++i) {  // NOLINT(modernize-loop-convert)
    if (timeout_lists_[i] != nullptr) timeout_lists_[i]->expire(begun_usec);
  }
  std::erase(timeout_lists_, nullptr);
  run_timers(begun_usec);
  if (failure_) return green::fail(*failure_);
  return {};
}

std::optional<std::uint64_t> Reactor::next_deadline() const {
  std::optional<std::uint64_t> earliest;
  const auto consider = [&earliest](std::uint64_t deadline) {
    if (!earliest || deadline < *earliest) earliest = deadline;
  };
  if (is_deferred_work_due_) consider(now_usec_);
  for (const TimeoutList* list : timeout_lists_) {
    if (list == nullptr) continue;
    if (const auto deadline = list->next_deadline()) consider(*deadline);
  }
  for (const Timer& timer : timers_) consider(timer.deadline_usec);
  return earliest;
}

void Reactor::refresh_now() { now_usec_ = monotonic_now(); }

std::uint64_t Reactor::next_turn_due() const {
  const auto latest = now_usec_ + static_cast<std::uint64_t>(longest_wait_.count());
  return std::min(latest, next_deadline().value_or(latest));
}

int Reactor::wait_timeout_msec() const {
  const auto due = next_turn_due();
  const auto now = monotonic_now();
  const auto msec = due > now ? (due - now + 999) / 1000 : 0;
  return static_cast<int>(std::min<std::uint64_t>(msec, std::numeric_limits<int>::max()));
}

Result<int> Reactor::wait(bool may_block) {
  int count = epoll_wait(epoll_.get(), batch_.data(), static_cast<int>(batch_.size()), 0);
  int error = errno;
  if (count == 0 && may_block && !is_deferred_work_due_ && !stopped_) {
    block_timeout_msec_ = wait_timeout_msec();
    if (block_timeout_msec_ > 0) {
      block_result_ = -1;
      block_errno_ = EINTR;  // what a wrapper that never calls it amounts to
      if (blocking_wait_) {
        blocking_wait_(block_);
      } else {
        block_();
      }
      count = block_result_;
      error = block_errno_;
    }
  }
  if (count >= 0) return count;
  if (error == EINTR) return 0;
  return green::fail(
      Error::from_errno("waiting for events (the epoll descriptor is unusable: was "
                        "it closed by the application?)",
                        error));
}

void Reactor::dispatch(int count) {
  batch_count_ = count;
  batch_next_ = 0;
  for (int i = 0; i < count; ++i) {
    auto& event = batch_[static_cast<std::size_t>(i)];
    if ((event.data.u64 & urgent_bit) == 0) continue;
    EventHandler* const handler = untag(event.data.u64);
    event.data.u64 = 0;
    if (handler != nullptr) handler->on_events(event.events);
  }
  for (int i = 0; count > 1 && i < count; ++i) {
    const auto& event = batch_[static_cast<std::size_t>(i)];
    if (EventHandler* const handler = untag(event.data.u64)) handler->before_events(event.events);
  }
  while (batch_next_ < batch_count_) {
    const auto& event = batch_[static_cast<std::size_t>(batch_next_++)];
    if (EventHandler* const handler = untag(event.data.u64)) handler->on_events(event.events);
    if (failure_) break;
  }
  batch_count_ = batch_next_ = 0;
}

void Reactor::run_deferred() {
  if (deferred_.empty()) return;
  // What is deferred meanwhile runs on the next turn, so that events get their turn too.
  running_deferred_.swap(deferred_);
  is_deferred_work_due_ = false;
  for (Deferred*& place : running_deferred_) {
    Deferred* const work = std::exchange(place, nullptr);
    if (work == nullptr) continue;
    work->queued_in_ = nullptr;
    work->run_deferred();
  }
  running_deferred_.clear();
}

void Reactor::run_timers(std::uint64_t now_usec) {
  for (;;) {
    const auto due = std::find_if(timers_.begin(), timers_.end(), [now_usec](const Timer& timer) {
      return timer.deadline_usec <= now_usec;
    });
    if (due == timers_.end()) return;
    const auto callback = std::move(due->callback);
    timers_.erase(due);
    callback();
  }
}

}  // namespace green::http
