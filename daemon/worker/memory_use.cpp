#include "daemon/worker/memory_use.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "common/fd.h"

namespace green::worker {
namespace {

/// Both files are made anew for each reader, and short. Empty on failure.
using Text = std::array<char, 4096>;
Text read_file(const char* path) {
  Text text{};
  const Fd file(::open(path, O_RDONLY | O_CLOEXEC));
  if (!file) return text;
  std::size_t size = 0;
  while (size < text.size() - 1) {
    const ssize_t count = ::read(file.get(), text.data() + size, text.size() - 1 - size);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    size += static_cast<std::size_t>(count);
  }
  return text;
}

std::uint64_t resident_set_size() {
  const Text statm = read_file("/proc/self/statm");
  const char* resident = std::strchr(statm.data(), ' ');
  if (resident == nullptr) return 0;
  return std::strtoull(resident, nullptr, 10) * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

}  // namespace

std::uint64_t proportional_set_size(const char* smaps_rollup) {
  const char* line = std::strstr(smaps_rollup, "\nPss:");
  return line == nullptr ? 0 : std::strtoull(line + std::strlen("\nPss:"), nullptr, 10) * 1024;
}

std::uint64_t MemoryUse::measure(std::uint64_t limit, std::uint64_t now_usec) {
  const std::uint64_t resident = resident_set_size();
  if (resident <= limit) return resident;
  if (walked_usec_ == 0 || now_usec >= walked_usec_ + walk_interval_usec) {
    walked_usec_ = now_usec;
    proportional_ = proportional_set_size(read_file("/proc/self/smaps_rollup").data());
  }
  return proportional_ == 0 ? resident : proportional_;
}

}  // namespace green::worker
