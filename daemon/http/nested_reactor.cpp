#include "daemon/http/nested_reactor.h"

#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>

#include "common/high_fd.h"

namespace green::http {

Result<std::unique_ptr<NestedReactor>> NestedReactor::create(Reactor& reactor) {
  Fd timer(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  if (!timer) return fail_errno("timerfd_create");
  auto high = move_high(std::move(timer));
  if (!high) return fail(std::move(high.error()));
  std::unique_ptr<NestedReactor> nested(new NestedReactor(reactor, std::move(*high)));
  if (auto added = reactor.add(nested->timer_.get(), EPOLLIN, *nested); !added)
    return fail(std::move(added.error()));
  nested->set_timer();
  return nested;
}

NestedReactor::~NestedReactor() { reactor_.remove(timer_.get(), *this); }

void NestedReactor::on_events(std::uint32_t) {
  std::uint64_t times = 0;
  // Nothing to read means that it was set anew meanwhile.
  if (::read(timer_.get(), &times, sizeof times) > 0) set_for_usec_ = UINT64_MAX;
}

Result<void> NestedReactor::turn() {
  turning_ = true;
  auto turned = reactor_.turn(false);
  turning_ = false;
  if (turned) set_timer();
  return turned;
}

void NestedReactor::set_timer() {
  const std::uint64_t due = std::max<std::uint64_t>(reactor_.next_turn_due(), 1);
  if (due >= set_for_usec_) return;
  const itimerspec when{.it_interval = {},
                        .it_value = {.tv_sec = static_cast<time_t>(due / 1'000'000),
                                     .tv_nsec = static_cast<long>(due % 1'000'000) * 1000}};
  if (::timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &when, nullptr) != 0) {
    reactor_.fail(
        Error::from_errno("setting the loop's timer (was it closed by the application?)"));
    return;
  }
  set_for_usec_ = due;
}

}  // namespace green::http
