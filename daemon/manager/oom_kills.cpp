#include "daemon/manager/oom_kills.h"

#include <fmt/format.h>

#include <fstream>
#include <utility>

namespace green::manager {
namespace {

/// "0::/system.slice/x.service" → "/system.slice/x.service"; empty where cgroup v2 is not in use.
std::string own_group() {
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);)
    if (line.starts_with("0::")) return line.substr(3);
  return {};
}

}  // namespace

OomKills::OomKills(std::string events_path) : path_(std::move(events_path)) {
  explained_ = read_count();
}

OomKills OomKills::of_this_process() {
  return OomKills("/sys/fs/cgroup" + own_group() + "/memory.events");
}

std::optional<std::uint64_t> OomKills::read_count() const {
  std::ifstream events(path_);
  std::string name;
  std::uint64_t count = 0;
  while (events >> name >> count)
    if (name == "oom_kill") return count;
  return std::nullopt;
}

std::string OomKills::explain_kill() {
  const auto count = read_count();
  if (!count) return "not sent by greend; the kernel does not say here if memory ran out";
  if (!explained_ || *count <= *explained_) {
    explained_ = count;
    return "not sent by greend, nor by the kernel for want of memory";
  }
  explained_ = *explained_ + 1;
  return fmt::format(
      "killed by the kernel, out of memory (oom_kill of its control group has risen to {})",
      *count);
}

}  // namespace green::manager
