#include "python/heap_holes.h"

#include <Python.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <new>
#include <string>
#include <string_view>
#include <vector>

#include "common/fd.h"

namespace green::python {
namespace {

/// The largest block that Python's own allocator gives out, and the step between its sizes.
constexpr std::size_t largest_small_block = 512;
constexpr std::size_t small_step = 16;
/// Of malloc's: larger holes are rare, and blocks beyond 128 KiB are mappings of their own.
constexpr std::size_t largest_block = 64 << 10;
constexpr std::size_t largest_fine_block = 1032;
constexpr std::size_t least_block = 24;

/// Something else than a heap was reserved there, terabytes of it maybe.
constexpr std::size_t largest_heap = std::size_t{4} << 30;

/// A line of /proc/self/maps: "7f0c5a200000-7f0c5a300000 rw-p …".
struct Mapping {
  std::uintptr_t begin = 0;
  std::uintptr_t end = 0;
  bool is_ours = false;  ///< private and writable
};

Mapping read_mapping(std::string_view line) {
  Mapping mapping;
  const char* const last = line.data() + line.size();
  const auto [dash, error] = std::from_chars(line.data(), last, mapping.begin, 16);
  if (error != std::errc{} || dash == last) return {};
  const auto [space, error_of_end] = std::from_chars(dash + 1, last, mapping.end, 16);
  if (error_of_end != std::errc{} || last - space < 5) return {};
  mapping.is_ours = space[2] == 'w' && space[4] == 'p';
  return mapping;
}

/// Which pages of this process's private writable memory are there, as of now. By proc(5)'s
/// pagemap: mincore(2) is in none of systemd's sets of system calls that a service's sandbox
/// allows.
class ResidentPages {
 public:
  Result<void> read() {
    std::ifstream maps("/proc/self/maps");
    const Fd pagemap(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
    if (!maps || !pagemap) return fail_errno("/proc/self/pagemap");
    for (std::string line; std::getline(maps, line);) {
      const Mapping mapping = read_mapping(line);
      if (!mapping.is_ours || mapping.end - mapping.begin > largest_heap) continue;
      auto states = read_states(pagemap.get(), mapping);
      if (!states) return fail(std::move(states.error()));
      ranges_.push_back({.begin = mapping.begin, .states = std::move(*states)});
    }
    return {};
  }

  bool hold_part_of(const void* block, std::size_t size) const {
    const auto first = reinterpret_cast<std::uintptr_t>(block) / page_ * page_;
    const auto end = reinterpret_cast<std::uintptr_t>(block) + size;
    for (auto page = first; page < end; page += page_)
      if (hold(page)) return true;
    return false;
  }

 private:
  struct Range {
    std::uintptr_t begin;
    std::vector<bool> states;  ///< of each page: whether it is there, in memory or swapped out
  };

  Result<std::vector<bool>> read_states(int pagemap, const Mapping& mapping) const {
    constexpr std::uint64_t present_or_swapped = std::uint64_t{3} << 62;
    const std::size_t count = (mapping.end - mapping.begin) / page_;
    std::vector<bool> states(count);
    std::array<std::uint64_t, 4096> entries;
    for (std::size_t done = 0; done < count;) {
      const auto wanted = std::min(count - done, entries.size()) * sizeof entries[0];
      const auto offset = (mapping.begin / page_ + done) * sizeof entries[0];
      const auto got = ::pread(pagemap, entries.data(), wanted, static_cast<off_t>(offset));
      if (got < 0) return fail_errno("reading /proc/self/pagemap");
      if (got == 0) return fail(ErrorCode::system, "/proc/self/pagemap ends before the memory");
      const auto pages = static_cast<std::size_t>(got) / sizeof entries[0];
      for (std::size_t i = 0; i < pages; ++i)
        states[done + i] = (entries[i] & present_or_swapped) != 0;
      done += pages;
    }
    return states;
  }

  bool hold(std::uintptr_t page) const {
    auto range = std::ranges::upper_bound(ranges_, page, {}, &Range::begin);
    if (range == ranges_.begin()) return false;
    --range;
    const std::size_t index = (page - range->begin) / page_;
    return index < range->states.size() && range->states[index];
  }

  std::uintptr_t page_ = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  std::vector<Range> ranges_;  ///< by address, as the file has them
};

struct Filling {
  Filling* next;
};
/// Never given back, and reachable, so that no leak checker minds.
Filling* fillings = nullptr;

/// Takes blocks of a size until one lies on fresh pages alone.
template <typename Allocate, typename GiveBack>
void fill(const ResidentPages& resident, std::size_t size, Allocate allocate, GiveBack give_back) {
  for (;;) {
    void* const block = allocate(size);
    if (block == nullptr) return;
    if (!resident.hold_part_of(block, size)) return give_back(block);
    fillings = new (block) Filling{fillings};
  }
}

}  // namespace

Result<void> fill_heap_holes() {
  ResidentPages resident;
  if (auto read = resident.read(); !read) return read;
  for (std::size_t size = largest_small_block; size >= small_step; size -= small_step)
    fill(resident, size, PyObject_Malloc, PyObject_Free);
  for (std::size_t size = largest_block; size > largest_fine_block; size -= size / 8)
    fill(resident, size, std::malloc, std::free);
  for (std::size_t size = largest_fine_block; size >= least_block; size -= small_step)
    fill(resident, size, std::malloc, std::free);
  return {};
}

}  // namespace green::python
