#include "daemon/worker/process_title.h"

#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

namespace green::worker {
namespace {

struct Area {
  char* start = nullptr;
  std::size_t size = 0;
};
Area area;

/// The environment in memory of its own, for as long as the process lives (getenv hands out
/// pointers).
void move_environment() {
  static auto* const copies = new std::vector<std::string>;
  static auto* const pointers = new std::vector<char*>;
  for (char** variable = environ; *variable != nullptr; ++variable) copies->emplace_back(*variable);
  for (std::string& copy : *copies) pointers->push_back(copy.data());
  pointers->push_back(nullptr);
  environ = pointers->data();
}

}  // namespace

void prepare_process_title(int argc, char** argv) {
  if (argc == 0) return;
  char* end = argv[0];
  const auto extend = [&end](char* text) {
    if (text == end) end += std::strlen(text) + 1;  // the kernel lays them out one after the other
  };
  for (int i = 0; i < argc; ++i) extend(argv[i]);
  for (char** variable = environ; *variable != nullptr; ++variable) extend(*variable);
  area = {argv[0], static_cast<std::size_t>(end - argv[0])};
  move_environment();
}

void set_process_title(std::string_view title) {
  ::prctl(PR_SET_NAME, std::string(title.substr(0, 15)).c_str());
  if (area.size < 2) return;
  const std::size_t size = std::min(title.size(), area.size - 1);
  std::memset(area.start, 0, area.size);
  std::memcpy(area.start, title.data(), size);
}

}  // namespace green::worker
