// What clients get from a site that can't start: a bounded spell of 503 answers. greend's thread.
#pragma once

#include <chrono>
#include <vector>

#include "daemon/manager/listen_fds.h"

namespace green::manager {

/// Answers 503 (RFC 9110, 15.6.4) to whoever connects, for `duration`, and hears those out (1 s at
/// most) who came last. With no trigger limit on the
/// socket unit one waiting connection would otherwise start us again at once, for ever; so this
/// also bounds how often a broken site is started. Blocks; ends early on SIGTERM, SIGINT or
/// SIGQUIT.
void refuse_clients(const std::vector<Listener>& listeners, std::chrono::milliseconds duration);

}  // namespace green::manager
