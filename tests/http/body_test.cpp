#include "daemon/http/body.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <array>

namespace green::http {
namespace {

Limits small() {
  Limits limits;
  limits.body_memory = 8;
  limits.spool_directory = "/tmp";
  return limits;
}

std::string read_at(const Body& body, std::uint64_t offset, std::size_t size) {
  std::string text(size, '\0');
  const auto count = body.read(offset, text);
  EXPECT_TRUE(count);
  text.resize(count.value_or(0));
  return text;
}

TEST(Body, StaysInMemoryUpToTheLimit) {
  const auto limits = small();
  Body body(limits);
  ASSERT_TRUE(body.append("1234"));
  ASSERT_TRUE(body.append("5678"));
  EXPECT_TRUE(body.in_memory());
  EXPECT_EQ(body.memory(), "12345678");
  EXPECT_EQ(body.fd(), -1);
  EXPECT_EQ(read_at(body, 6, 10), "78");
  EXPECT_EQ(read_at(body, 8, 10), "");
}

TEST(Body, GoesToAFileThatHasNoNamePastTheLimit) {
  const auto limits = small();
  Body body(limits);
  ASSERT_TRUE(body.append("1234567"));
  ASSERT_TRUE(body.append("89"));
  ASSERT_TRUE(body.append("ab"));
  EXPECT_FALSE(body.in_memory());
  EXPECT_EQ(body.size(), 11U);
  EXPECT_EQ(read_at(body, 0, 100), "123456789ab");
  EXPECT_EQ(read_at(body, 9, 1), "a");
  struct stat status{};
  ASSERT_EQ(fstat(body.fd(), &status), 0);
  EXPECT_EQ(status.st_nlink, 0U);
  EXPECT_EQ(status.st_size, 11);
}

TEST(Body, IsEmptyAgainOnceCleared) {
  const auto limits = small();
  Body body(limits);
  ASSERT_TRUE(body.append("123456789"));
  body.clear();
  EXPECT_TRUE(body.in_memory());
  EXPECT_EQ(body.size(), 0U);
  ASSERT_TRUE(body.append("x"));
  EXPECT_EQ(body.memory(), "x");
}

TEST(Body, SaysWhereItCouldNotBeStored) {
  auto limits = small();
  limits.spool_directory = "/nonexistent";
  Body body(limits);
  const auto appended = body.append("123456789");
  ASSERT_FALSE(appended);
  EXPECT_NE(appended.error().message().find("/nonexistent"), std::string::npos);
}

TEST(Body, IsTakenAsItComesInMemoryAlone) {
  const auto limits = small();
  Body body(limits);
  body.stream();
  ASSERT_TRUE(body.append("123456"));
  ASSERT_TRUE(body.append("7890"));
  EXPECT_TRUE(body.in_memory());
  EXPECT_EQ(body.waiting(), 10U);
  std::array<char, 4> piece{};
  EXPECT_EQ(body.take(piece), 4U);
  EXPECT_EQ(std::string_view(piece.data(), 4), "1234");
  ASSERT_TRUE(body.append("a"));
  EXPECT_EQ(body.waiting(), 7U);
  std::array<char, 16> rest{};
  EXPECT_EQ(body.take(rest), 7U);
  EXPECT_EQ(std::string_view(rest.data(), 7), "567890a");
  EXPECT_EQ(body.take(rest), 0U);
  EXPECT_EQ(body.size(), 11U);
  body.clear();
  EXPECT_FALSE(body.is_streamed());
  EXPECT_EQ(body.size(), 0U);
}

TEST(Body, IsCountedWhereNobodyWantsIt) {
  const auto limits = small();
  Body body(limits);
  body.stream();
  ASSERT_TRUE(body.append("123456"));
  body.drop();
  EXPECT_EQ(body.waiting(), 0U);
  ASSERT_TRUE(body.append("7890"));
  EXPECT_EQ(body.waiting(), 0U);
  EXPECT_EQ(body.size(), 10U);
}

}  // namespace
}  // namespace green::http
