#include "daemon/manager/children.h"

#include <fmt/format.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <cerrno>
#include <map>
#include <utility>
#include <vector>

#include "common/log.h"

namespace green::manager {

struct Children::State {
  explicit State(EventLoop& event_loop) : loop(event_loop) {}

  EventLoop& loop;
  std::map<pid_t, Callback> watched;
  std::map<pid_t, ChildExit> unclaimed;
  std::vector<ChildExit> claimed;
  EventSource deliver_claimed;
  int holds = 0;

  void deliver(const ChildExit& child) {
    auto found = watched.extract(child.pid);
    if (found) {
      found.mapped()(child);
    } else if (holds > 0) {
      unclaimed.emplace(child.pid, child);
    } else {
      log_debug("adopted process {} ended: {}", child.pid, child.text());
    }
  }
};

std::string ChildExit::text() const {
  if (!by_signal) return fmt::format("exit status {}", value);
  const char* name = ::sigabbrev_np(value);
  return fmt::format("signal {} ({}){}", value, name != nullptr ? name : "?",
                     core_dumped ? ", core dumped" : "");
}

Result<Children> Children::create(EventLoop& loop) {
  if (::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0) return fail_errno("PR_SET_CHILD_SUBREAPER");
  Children children;
  children.state_ = std::make_shared<State>(loop);
  auto source = loop.add_signal(SIGCHLD, [state = children.state_] {
    Children view;
    view.state_ = state;
    view.reap();
  });
  if (!source) return fail(std::move(source.error()));
  children.signal_ = std::move(*source);
  return children;
}

void Children::watch(pid_t pid, Callback callback) {
  state_->watched.insert_or_assign(pid, std::move(callback));
  const auto early = state_->unclaimed.extract(pid);
  if (!early) return;
  state_->claimed.push_back(early.mapped());
  auto deferred = state_->loop.add_defer([state = state_.get()] {
    for (const ChildExit& child : std::exchange(state->claimed, {})) state->deliver(child);
  });
  if (deferred) {
    state_->deliver_claimed = std::move(*deferred);
  } else {
    log_error("{}", deferred.error().message());
  }
}

void Children::forget(pid_t pid) { state_->watched.erase(pid); }

void Children::hold_unclaimed() { ++state_->holds; }

void Children::release_unclaimed() {
  if (--state_->holds == 0) state_->unclaimed.clear();
}

void Children::reap() {
  while (true) {
    siginfo_t info{};
    if (::waitid(P_ALL, 0, &info, WEXITED | WNOHANG) < 0) {
      if (errno == EINTR) continue;
      if (errno != ECHILD) log_error("waitid: {}", Error::from_errno("waitid").message());
      return;
    }
    if (info.si_pid == 0) return;
    state_->deliver({.pid = info.si_pid,
                     .by_signal = info.si_code != CLD_EXITED,
                     .core_dumped = info.si_code == CLD_DUMPED,
                     .value = info.si_status});
  }
}

}  // namespace green::manager
