#include "daemon/http/spool_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <filesystem>

namespace green::http {
namespace {

class SpoolFiles : public ::testing::Test {
 protected:
  SpoolFiles() {
    std::string pattern = ::testing::TempDir() + "green-spool-test-XXXXXX";
    folder = mkdtemp(pattern.data());
  }
  ~SpoolFiles() override { std::filesystem::remove_all(folder); }

  void expect_to_work(SpoolFile& file) {
    ASSERT_TRUE(file.append("hello "));
    ASSERT_TRUE(file.append("world"));
    EXPECT_EQ(file.size(), 11U);
    std::array<char, 64> buffer{};
    EXPECT_EQ(file.read(0, buffer).value(), 11U);
    EXPECT_EQ(std::string_view(buffer.data(), 11), "hello world");
    EXPECT_EQ(file.read(9, buffer).value(), 2U);
    EXPECT_EQ(file.read(11, buffer).value(), 0U);
    struct stat status{};
    ASSERT_EQ(fstat(file.fd(), &status), 0);
    EXPECT_EQ(status.st_nlink, 0U);
    EXPECT_EQ(status.st_mode & 0777, 0600U);
    EXPECT_TRUE(std::filesystem::is_empty(folder)) << "a name is left";
  }
  std::string folder;
};

/// As a file system without O_TMPFILE answers.
int cannot_open_unnamed(const char*) {
  errno = EOPNOTSUPP;
  return -1;
}

TEST_F(SpoolFiles, NeverHaveAName) {
  auto file = SpoolFile::create(folder);
  ASSERT_TRUE(file);
  expect_to_work(*file);
}

TEST_F(SpoolFiles, LoseTheirNameAtOnceWhereTheFileSystemAsksForOne) {
  auto file = SpoolFile::create(folder, cannot_open_unnamed);
  ASSERT_TRUE(file);
  expect_to_work(*file);
}

TEST_F(SpoolFiles, SayWhichFolderTheyCouldNotBeMadeIn) {
  for (const auto open : {&SpoolFile::open_unnamed, &cannot_open_unnamed}) {
    const auto file = SpoolFile::create(folder + "/none", open);
    ASSERT_FALSE(file);
    EXPECT_NE(file.error().message().find(folder + "/none"), std::string::npos);
  }
}

TEST_F(SpoolFiles, AreClosedToProgramsThatAreStarted) {
  for (const auto open : {&SpoolFile::open_unnamed, &cannot_open_unnamed}) {
    const auto file = SpoolFile::create(folder, open);
    ASSERT_TRUE(file);
    EXPECT_EQ(fcntl(file->fd(), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
  }
}

TEST_F(SpoolFiles, SayThatTheDiskIsFull) {
  auto file = SpoolFile::create(folder, [](const char*) { return ::open("/dev/full", O_RDWR); });
  ASSERT_TRUE(file);
  const auto appended = file->append("x");
  ASSERT_FALSE(appended);
  EXPECT_EQ(appended.error().errno_value(), ENOSPC);
  EXPECT_EQ(file->size(), 0U);
}

}  // namespace
}  // namespace green::http
