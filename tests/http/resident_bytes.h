// What memory this process takes now. No thread affinity.
#pragma once

#include <unistd.h>

#include <cstddef>
#include <fstream>

namespace green::http::testing {

inline std::size_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  std::size_t size = 0;
  std::size_t resident = 0;
  file >> size >> resident;
  return resident * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace green::http::testing
