#include "python/heap_holes.h"

#include <Python.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <set>
#include <vector>

#include "tests/python/python_fixture.h"

namespace green::python {
namespace {

constexpr std::size_t page_size = 4096;

std::uintptr_t page_of(const void* block) {
  return reinterpret_cast<std::uintptr_t>(block) / page_size;
}

/// Pages where every other block of a size is free.
template <typename Allocate, typename Free>
std::set<std::uintptr_t> pages_with_holes(std::size_t size, Allocate allocate, Free give_back) {
  std::vector<void*> blocks;
  for (int i = 0; i < 4000; ++i) blocks.push_back(allocate(size));
  std::set<std::uintptr_t> pages;
  for (std::size_t i = 0; i < blocks.size(); i += 2) {
    // All but the first and the last, which may have fresh memory for neighbours.
    if (i > 200 && i < blocks.size() - 200) pages.insert(page_of(blocks[i]));
    give_back(blocks[i]);
  }
  return pages;
}

template <typename Allocate>
std::size_t new_blocks_on(const std::set<std::uintptr_t>& pages, std::size_t size,
                          Allocate allocate) {
  std::size_t found = 0;
  for (int i = 0; i < 500; ++i) found += pages.count(page_of(allocate(size)));
  return found;
}

TEST(HeapHoles, AreFilledInPythonsHeap) {
  const auto open = pages_with_holes(144, PyObject_Malloc, PyObject_Free);
  EXPECT_GT(new_blocks_on(open, 144, PyObject_Malloc), 0U) << "the test shows nothing";
  const auto filled = pages_with_holes(160, PyObject_Malloc, PyObject_Free);
  ASSERT_TRUE(fill_heap_holes());
  EXPECT_EQ(new_blocks_on(filled, 160, PyObject_Malloc), 0U);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
// A sanitizer's malloc keeps what was freed to itself for a while.
TEST(HeapHoles, AreFilledInMallocsHeap) {
  const auto open = pages_with_holes(700, std::malloc, std::free);
  EXPECT_GT(new_blocks_on(open, 700, std::malloc), 50U) << "the test shows nothing";
  const auto filled = pages_with_holes(900, std::malloc, std::free);
  ASSERT_TRUE(fill_heap_holes());
  // But for what the search itself took, and gave back.
  EXPECT_LT(new_blocks_on(filled, 900, std::malloc), 5U);
}

/// Of this process, as RLIMIT_DATA counts it.
std::size_t data_bytes() {
  std::ifstream statm("/proc/self/statm");
  std::size_t pages = 0;
  for (int field = 0; field < 6; ++field) statm >> pages;
  return pages * page_size;
}

TEST(HeapHoles, AreNotLookedForInWhatIsReservedByTheTerabyte) {
  const auto in_a_process_with_little_memory = [] {
    constexpr std::size_t reserved = std::size_t{1} << 44;
    if (::mmap(nullptr, reserved, PROT_READ | PROT_WRITE,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) == MAP_FAILED)
      _exit(1);
    const std::size_t room = data_bytes() + (std::size_t{1} << 28);
    const rlimit limit{.rlim_cur = room, .rlim_max = room};
    if (::setrlimit(RLIMIT_DATA, &limit) != 0) _exit(2);
    _exit(fill_heap_holes() ? 0 : 3);
  };
  EXPECT_EXIT(in_a_process_with_little_memory(), ::testing::ExitedWithCode(0), "");
}

TEST(HeapHoles, AreLeftAndSaidToBeWhereNothingTellsWhatIsInMemory) {
  const auto in_a_process_that_opens_no_file = [] {
    test_runtime()->freeze();  // imports what it needs
    const rlimit none{.rlim_cur = 0, .rlim_max = 0};
    if (::setrlimit(RLIMIT_NOFILE, &none) != 0) _exit(1);
    test_runtime()->freeze();
    _exit(0);
  };
  EXPECT_EXIT(in_a_process_that_opens_no_file(), ::testing::ExitedWithCode(0),
              "workers share less memory: .*pagemap");
}

TEST(HeapHoles, EndNoZygoteThatHasNoMemoryToLookForThem) {
  const auto in_a_process_without_memory = [] {
    // A bit a page each. What may be written and what may not take turns, or they would be one.
    constexpr std::size_t reserved = std::size_t{3} << 30;
    for (int i = 0; i < 32; ++i) {
      const int rights = i % 2 == 0 ? PROT_READ | PROT_WRITE : PROT_NONE;
      if (::mmap(nullptr, reserved, rights, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) ==
          MAP_FAILED)
        _exit(1);
    }
    const std::size_t room = data_bytes() + (std::size_t{1} << 18);
    const rlimit limit{.rlim_cur = room, .rlim_max = room};
    if (::setrlimit(RLIMIT_DATA, &limit) != 0) _exit(2);
    test_runtime()->freeze();
    _exit(0);
  };
  EXPECT_EXIT(in_a_process_without_memory(), ::testing::ExitedWithCode(0), "out of memory");
}
#endif

}  // namespace
}  // namespace green::python
