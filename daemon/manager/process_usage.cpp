#include "daemon/manager/process_usage.h"

#include <fmt/format.h>
#include <unistd.h>

#include <fstream>
#include <sstream>
#include <string>
#include <string_view>

namespace green::manager {
namespace {

constexpr std::uint64_t read_interval_usec = 100'000;
constexpr std::uint64_t walk_interval_usec = 10'000'000;

std::string text_of(pid_t pid, const char* name) {
  std::ifstream file(fmt::format("/proc/{}/{}", pid, name));
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

/// The numbers of a line, up to the first word that is none.
std::uint64_t number_at(const std::string& line, std::size_t index) {
  std::istringstream words(line);
  std::uint64_t number = 0;
  for (std::size_t i = 0; i <= index; ++i)
    if (!(words >> number)) return 0;
  return number;
}

std::uint64_t rss_of(const std::string& statm) {
  return number_at(statm, 1) * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

std::uint64_t pss_of(const std::string& smaps_rollup) {
  constexpr std::string_view label = "\nPss:";
  const auto line = smaps_rollup.find(label);
  if (line == std::string::npos) return 0;
  return number_at(smaps_rollup.substr(line + label.size()), 0) * 1024;
}

}  // namespace

std::uint64_t cpu_nsec_of(const char* text, long ticks_per_second) {
  const std::string stat(text);
  const auto end_of_name = stat.rfind(") ");
  if (end_of_name == std::string::npos || ticks_per_second <= 0) return 0;
  // From the number of the parent on; user and system time are the 11th and 12th of those.
  const std::size_t begin = end_of_name + 4;
  if (stat.size() <= begin) return 0;
  std::istringstream words(stat.substr(begin));
  std::string word;
  std::uint64_t ticks = 0;
  for (int i = 0; i < 10; ++i) words >> word;
  std::uint64_t user = 0;
  std::uint64_t system = 0;
  if (words >> user >> system) ticks = user + system;
  return ticks * (1'000'000'000ULL / static_cast<std::uint64_t>(ticks_per_second));
}

Usage ProcessUsage::of(pid_t pid, std::uint64_t now_usec) {
  Known& known = known_[pid];
  if (known.read_usec == 0 || now_usec >= known.read_usec + read_interval_usec) {
    known.read_usec = now_usec;
    known.usage.rss_bytes = rss_of(text_of(pid, "statm"));
    known.usage.cpu_nsec = cpu_nsec_of(text_of(pid, "stat").c_str(), ::sysconf(_SC_CLK_TCK));
  }
  if (known.walked_usec == 0 || now_usec >= known.walked_usec + walk_interval_usec) {
    known.walked_usec = now_usec;
    known.usage.pss_bytes = pss_of(text_of(pid, "smaps_rollup"));
  }
  return known.usage;
}

}  // namespace green::manager
