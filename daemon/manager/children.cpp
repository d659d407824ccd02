#include "daemon/manager/children.h"

#include <fmt/format.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>
#include <fstream>
#include <map>
#include <set>
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

namespace {

/// The processes whose parent we are now; empty where the kernel does not list them.
std::set<pid_t> present_children() {
  std::ifstream list(fmt::format("/proc/self/task/{}/children", ::getpid()));
  std::set<pid_t> pids;
  for (pid_t pid = 0; list >> pid;) pids.insert(pid);
  return pids;
}

/// False once there are none.
bool reap_unheard() {
  while (true) {
    siginfo_t info{};
    if (::waitid(P_ALL, 0, &info, WEXITED | WNOHANG) < 0) {
      if (errno == EINTR) continue;
      return false;
    }
    if (info.si_pid == 0) return true;
  }
}

void wait_for_child(std::chrono::milliseconds limit) {
  sigset_t child;
  ::sigemptyset(&child);
  ::sigaddset(&child, SIGCHLD);
  const timespec time{.tv_sec = limit.count() / 1000,
                      .tv_nsec = (limit.count() % 1000) * 1'000'000};
  ::sigtimedwait(&child, nullptr, &time);
}

}  // namespace

void Children::end_remaining(std::chrono::milliseconds grace) {
  using Clock = std::chrono::steady_clock;
  // A child's end can leave us its own children, which makes no signal.
  constexpr std::chrono::milliseconds look_interval{50};
  const auto begun = Clock::now();
  std::set<pid_t> asked;
  while (reap_unheard() && Clock::now() < begun + 2 * grace) {
    const bool is_late = Clock::now() >= begun + grace;
    for (const pid_t pid : present_children()) {
      const bool is_first = asked.insert(pid).second;
      if (is_first && state_->watched.contains(pid))
        log_debug("process {} is on its way out", pid);
      else if (is_first)
        log_notice("process {}, which the application left behind, is ended", pid);
      else if (!is_late)
        continue;
      ::kill(pid, is_late ? SIGKILL : SIGTERM);
    }
    wait_for_child(look_interval);
  }
  if (reap_unheard()) log_warning("some processes of the application could not be ended");
}

}  // namespace green::manager
