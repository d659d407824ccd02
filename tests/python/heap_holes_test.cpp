#include "python/heap_holes.h"

#include <Python.h>
#include <gtest/gtest.h>

#include <cstdlib>
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
  fill_heap_holes();
  EXPECT_EQ(new_blocks_on(filled, 160, PyObject_Malloc), 0U);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
// A sanitizer's malloc keeps what was freed to itself for a while.
TEST(HeapHoles, AreFilledInMallocsHeap) {
  const auto open = pages_with_holes(700, std::malloc, std::free);
  EXPECT_GT(new_blocks_on(open, 700, std::malloc), 0U) << "the test shows nothing";
  const auto filled = pages_with_holes(900, std::malloc, std::free);
  fill_heap_holes();
  EXPECT_EQ(new_blocks_on(filled, 900, std::malloc), 0U);
}
#endif

}  // namespace
}  // namespace green::python
