// run_site: one site from its sockets to its end: what greend is, once its command line is read. It
// starts the site, or goes on where the greend before it was replaced. greend's thread.
#pragma once

#include <span>

#include "common/fd.h"
#include "common/result.h"
#include "daemon/manager/command_line.h"

namespace green::manager {

/// Returns greend's exit status. Signals must be blocked already. `arguments`: greend's own, for
/// the greend that replaces it; `state`: of the greend that was replaced, if one was.
Result<int> run_site(const CommandLine& line, std::span<char* const> arguments, Fd state);

}  // namespace green::manager
