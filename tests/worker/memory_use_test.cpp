#include "daemon/worker/memory_use.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstring>

namespace green::worker {
namespace {

TEST(MemoryUse, ReadsTheProportionalLineAlone) {
  EXPECT_EQ(
      proportional_set_size("0-1 ---p [rollup]\nRss:   10 kB\nPss:    3 kB\nPss_Dirty: 1 kB\n"),
      3072U);
  EXPECT_EQ(proportional_set_size("0-1 ---p [rollup]\nRss:   10 kB\n"), 0U);
  EXPECT_EQ(proportional_set_size(""), 0U);
}

TEST(MemoryUse, IsTheResidentSetWhileThatIsWithinTheLimit) {
  MemoryUse use;
  const auto bytes = use.measure(1ULL << 50, 1);
  EXPECT_GT(bytes, 1U << 20);
  EXPECT_LT(bytes, 1ULL << 40);
}

TEST(MemoryUse, CountsSharedPagesInProportion) {
  // 64 MiB that this process and a child of it both have in use.
  constexpr std::size_t size = 64 << 20;
  auto* const shared = static_cast<char*>(
      ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(shared, MAP_FAILED);
  std::memset(shared, 1, size);
  const auto alone = MemoryUse().measure(1, 1);
  std::array<int, 2> ready{};
  std::array<int, 2> end{};
  ASSERT_EQ(::pipe(ready.data()), 0);
  ASSERT_EQ(::pipe(end.data()), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    std::memset(shared, 2, size);
    char byte = 0;
    ::close(end[1]);
    ::_exit(::write(ready[1], "x", 1) == 1 && ::read(end[0], &byte, 1) == 0 ? 0 : 1);
  }
  char byte = 0;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  const auto together = MemoryUse().measure(1, 1);
  EXPECT_LT(together + (size / 3), alone);
  ::close(end[1]);
  ::waitpid(child, nullptr, 0);
  ::munmap(shared, size);
}

TEST(MemoryUse, WalksTheMappingsAtABoundedRate) {
  MemoryUse use;
  const std::uint64_t start = 1'000'000;
  const auto first = use.measure(1, start);
  constexpr std::size_t size = 32 << 20;
  auto* const more = static_cast<char*>(
      ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(more, MAP_FAILED);
  std::memset(more, 1, size);
  EXPECT_EQ(use.measure(1, start + MemoryUse::walk_interval_usec - 1), first);
  EXPECT_GT(use.measure(1, start + MemoryUse::walk_interval_usec), first + (size / 2));
  ::munmap(more, size);
}

}  // namespace
}  // namespace green::worker
