#include "daemon/http/held_replies.h"

#include <pthread.h>
#include <unistd.h>

#include <csignal>
#include <system_error>
#include <utility>

#include "common/log.h"
#include "common/scoreboard.h"
#include "daemon/http/socket_calls.h"

namespace green::http {
namespace {

/// Looks of the thread that find nothing held lately, before it sleeps for good.
constexpr int looks_in_vain = 50;

// One loop a process: a handler finds no other way to it.
std::atomic<HeldReplies*> of_process{nullptr};
std::atomic<pid_t> process{0};
/// Without a thread that sends what waits too long, nothing waits.
std::atomic<bool> has_no_thread{false};

}  // namespace

HeldReplies::~HeldReplies() {
  HeldReplies* self = this;
  of_process.compare_exchange_strong(self, nullptr);
}

bool HeldReplies::has_room_for(std::size_t size) const {
  return !has_no_thread.load(std::memory_order_relaxed) && size <= largest_reply &&
         count_.load(std::memory_order_relaxed) < slots_.size();
}

bool HeldReplies::may_hold(std::size_t size, std::uint64_t call_began_usec) const {
  return reactor_.has_more_events() && has_room_for(size) &&
         monotonic_usec() - call_began_usec < quick_call_usec;
}

bool HeldReplies::may_hold_in_step(std::size_t size, std::uint64_t step_began_usec) const {
  return awaits_call() && has_room_for(size) &&
         monotonic_usec() - step_began_usec < quick_call_usec;
}

void HeldReplies::hold(HeldReplyOwner& owner, int socket, const Frame& frame) {
  const auto index = count_.load(std::memory_order_relaxed);
  Slot& slot = slots_[index];
  slot.bytes.assign(frame.before).append(frame.data).append(frame.after);
  slot.socket = socket;
  slot.owner = &owner;
  slot.sent = 0;
  slot.state.store(State::held, std::memory_order_release);
  count_.store(index + 1, std::memory_order_release);
  if (index != 0) return;
  first_held_usec_ = monotonic_usec();
  reactor_.defer(*this, Defer::wait);
  turns_.fetch_add(1);
  if (!thread_watches_.load()) wake_thread();
}

std::uint64_t HeldReplies::announce_call() {
  const std::uint64_t turn = reactor_.turn_number();
  if (std::exchange(announced_in_turn_, turn) != turn) announced_ = 0;
  ++announced_;
  return turn;
}

void HeldReplies::call_dropped(std::uint64_t announced) {
  if (announced != announced_in_turn_) return;
  --announced_;
  if (announced_ == 0 && count_.load(std::memory_order_relaxed) != 0) reactor_.defer(*this);
}

void HeldReplies::step_begins(std::uint64_t announced) {
  if (announced != 0 && announced == announced_in_turn_) --announced_;
  // Nobody is left to wait for.
  if (!awaits_call()) return release();
  before_call(reactor_.now_usec());
}

void HeldReplies::release() {
  const auto count = count_.load(std::memory_order_relaxed);
  for (std::size_t i = 0; i < count; ++i) {
    Slot& slot = slots_[i];
    auto found = State::held;
    if (!slot.state.compare_exchange_strong(found, State::taken)) {
      const std::scoped_lock lock(mutex_);  // the thread has sent what it is at
      found = slot.state.load();
    }
    auto rest = std::string_view(slot.bytes).substr(slot.sent);
    // A handler has it, and after that the process ends.
    if (found == State::sending) rest = {};
    if (auto* const owner = std::exchange(slot.owner, nullptr)) owner->send_held(rest);
  }
  count_.store(0, std::memory_order_release);
}

void HeldReplies::let_go(const HeldReplyOwner& owner) {
  const auto count = count_.load(std::memory_order_relaxed);
  for (std::size_t i = 0; i < count; ++i) {
    if (slots_[i].owner != &owner) continue;
    const std::scoped_lock lock(mutex_);
    send_unclaimed(slots_[i]);
    slots_[i].owner = nullptr;
  }
}

/// Any thread. What the socket does not take, the loop thread tries again, and sees any error.
void HeldReplies::send_unclaimed(Slot& slot) {
  auto expected = State::held;
  if (!slot.state.compare_exchange_strong(expected, State::sending)) return;
  const auto sent = send_now(slot.socket, slot.bytes);
  if (sent > 0) slot.sent = static_cast<std::size_t>(sent);
  slot.state.store(State::taken, std::memory_order_release);
}

void HeldReplies::send_unclaimed() {
  const auto count = count_.load(std::memory_order_acquire);
  for (std::size_t i = 0; i < count; ++i) send_unclaimed(slots_[i]);
}

void HeldReplies::send_all_from_handler() {
  HeldReplies* const self = of_process.load();
  if (self != nullptr && process.load() == ::getpid()) self->send_unclaimed();
}

void HeldReplies::wake_thread() {
  const std::scoped_lock lock(mutex_);
  thread_watches_.store(true);
  if (thread_.joinable()) {
    news_.notify_one();
    return;
  }
  process.store(::getpid());
  of_process.store(this);
  // The process's signals are the application's threads' business.
  sigset_t all;
  sigset_t mask;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &mask);
  try {
    thread_ = std::jthread([this](const std::stop_token& stop) { watch(stop); });
  } catch (const std::system_error& error) {
    log_warning("replies are sent one by one: no thread can be started: {}", error.what());
    has_no_thread.store(true);
  }
  pthread_sigmask(SIG_SETMASK, &mask, nullptr);
}

void HeldReplies::watch(const std::stop_token& stop) {
  ::pthread_setname_np(::pthread_self(), "held-replies");
  std::unique_lock lock(mutex_);
  std::uint32_t seen = 0;
  int vain = 0;
  while (!stop.stop_requested()) {
    if (!thread_watches_.load()) {
      news_.wait(lock, stop, [this] { return thread_watches_.load(); });
      vain = 0;
      continue;
    }
    news_.wait_for(lock, stop, patience, [] { return false; });
    const auto turns = turns_.load();
    // The same turn's as at the last look.
    if (turns == seen) send_unclaimed();
    vain = turns == seen ? vain + 1 : 0;
    seen = turns;
    if (vain <= looks_in_vain) continue;
    thread_watches_.store(false);
    // Something was held just before, by somebody who saw us watch.
    if (turns_.load() != seen) thread_watches_.store(true);
  }
}

}  // namespace green::http
