#include "ctl/site.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "common/text.h"

namespace green::ctl {

std::string how_to_start(std::string_view site, std::string_view bus) {
  if (bus == "system") return fmt::format("start it with: systemctl start green@{}.socket", site);
  return fmt::format("start it with: greend --bus={} --site {}", bus, site);
}

Outcome<std::string> choose_site(std::string_view requested,
                                 const std::vector<std::string>& running, std::string_view bus) {
  if (requested.empty()) {
    if (running.size() == 1) return running.front();
    if (running.empty())
      return fail_with(exit_not_running, fmt::format("no site is running on the {} bus; {}", bus,
                                                     how_to_start("SITE", bus)));
    return fail_with(exit_no_site, fmt::format("several sites are running, name one of them: {}",
                                               fmt::join(running, ", ")));
  }
  if (!is_valid_site_name(requested))
    return fail_with(
        exit_no_site,
        fmt::format("\"{}\" cannot be a site's name: 1 to 64 of letters, digits, _, . and -",
                    printable(requested)));
  if (std::ranges::binary_search(running, requested)) return std::string(requested);
  const auto nearest = std::ranges::find_if(running, [requested](const std::string& site) {
    return edit_distance(site, requested) <= 2 && site.size() > 2;
  });
  const std::string advice = nearest == running.end() ? how_to_start(requested, bus)
                                                      : fmt::format("did you mean {}?", *nearest);
  return fail_with(exit_not_running, fmt::format("{} is not running; {}", requested, advice));
}

}  // namespace green::ctl
