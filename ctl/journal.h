// How the journal of a site is asked for: journalctl with the right match, here or on another host.
#pragma once

#include <string>
#include <vector>

#include "ctl/verb.h"

namespace green::ctl {

/// "journalctl --unit=green@shop.service", by ssh where the session is about another host.
std::vector<std::string> journal_command(const Session& session, const std::string& site);

}  // namespace green::ctl
