// Successor: the greend that takes this one's place in the same process: whatever binary lies now
// where the running one was started from. First asked, in a child, whether it starts and can read
// the state; then executed. greend's thread.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/fd.h"
#include "common/result.h"
#include "daemon/manager/children.h"
#include "daemon/manager/event_loop.h"

namespace green::manager {

/// Options that only a greend gives to another one, with a descriptor's number behind them.
inline constexpr std::string_view reexec_state_option = "--reexec-state=";
inline constexpr std::string_view check_reexec_state_option = "--check-reexec-state=";

/// The number behind `option`, in the only argument that begins with it; -1: none does.
int descriptor_argument(std::span<char* const> arguments, std::string_view option);

class Successor {
 public:
  /// `arguments`: the running greend's own, which the successor gets too.
  Successor(EventLoop& loop, Children& children, std::span<char* const> arguments);

  const std::string& program() const { return program_; }

  /// Calls back once, from the loop, with what the successor said to `state` (a memfd) and the
  /// arguments.
  Result<void> check(int state, std::function<void(Result<void>)> answer);
  /// Only returns on failure, with everything as it was. `kept`: descriptors that stay open.
  Error execute(int state, std::span<const int> kept) const;

 private:
  void checked(const ChildExit& child);

  EventLoop& loop_;
  Children& children_;
  std::string program_;
  std::vector<std::string> arguments_;
  Fd report_;  ///< what the child writes
  std::function<void(Result<void>)> answer_;
  EventSource limit_;
  bool took_too_long_ = false;
};

}  // namespace green::manager
