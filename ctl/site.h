// Which site a command is about. No bus here: the caller knows which sites run.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "ctl/outcome.h"

namespace green::ctl {

/// The requested site if it runs; without a request the one that runs, if exactly one does.
/// `bus` is for the advice in the failure. Precondition: `running` is sorted.
Outcome<std::string> choose_site(std::string_view requested,
                                 const std::vector<std::string>& running, std::string_view bus);

/// "start it with: systemctl start green@site.socket"
std::string how_to_start(std::string_view site, std::string_view bus);

}  // namespace green::ctl
