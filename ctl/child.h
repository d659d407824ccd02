// Programs that greenctl runs: journalctl, a pager, polkit's agent. One thread.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

#include "common/fd.h"

namespace green::ctl {

/// Its standard output; empty too where it can't be run. Standard error is dropped.
std::string output_of(const std::vector<std::string>& command);
/// With our own standard streams; its exit status, or 127 where it can't be run.
int run_attached(const std::vector<std::string>& command);
/// Shows `text` by $GREENCTL_PAGER, $SYSTEMD_PAGER, $PAGER or less; false: there is none, or
/// "cat".
bool show_by_pager(std::string_view text);

/// polkit's text agent, by which a password can be asked for on this terminal. Runs until it is
/// destroyed.
class TtyAgent {
 public:
  TtyAgent() = default;
  ~TtyAgent();
  TtyAgent(const TtyAgent&) = delete;
  TtyAgent& operator=(const TtyAgent&) = delete;
  /// Where standard input is a terminal and pkttyagent is at hand; returns once it listens.
  void start();

 private:
  pid_t pid_ = -1;
};

}  // namespace green::ctl
