#include "daemon/http/output_queue.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <thread>

#include "common/fd.h"

namespace green::http {
namespace {

using Status = OutputQueue::Status;

class OutputQueues : public ::testing::Test {
 protected:
  OutputQueues() {
    limits.output_memory = 64 << 10;
    limits.spool_directory = "/tmp";
    connect();
  }
  void connect() {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) std::abort();
    socket = Fd(ends[0]);
    client = Fd(ends[1]);
  }
  /// Fills the socket, so that it takes nothing.
  void fill() {
    const std::string part(4096, '#');
    while (::send(socket.get(), part.data(), part.size(), MSG_DONTWAIT) > 0) {
    }
  }
  std::string take() {
    std::string text;
    std::array<char, 65536> piece;
    for (;;) {
      const auto count = recv(client.get(), piece.data(), piece.size(), MSG_DONTWAIT);
      if (count <= 0) return text;
      text.append(piece.data(), static_cast<std::size_t>(count));
    }
  }
  /// Until the queue is empty.
  std::string take_all() {
    std::string text = take();
    for (int i = 0; i < 10'000; ++i) {
      const auto status = queue.flush(socket.get());
      text += take();
      if (status == Status::empty) return text;
      EXPECT_EQ(status, Status::pending);
    }
    ADD_FAILURE() << "the queue never became empty";
    return text;
  }
  Status send(std::string_view text) {
    return queue.send(socket.get(), {.before = text, .data = {}, .after = {}});
  }
  Limits limits;
  OutputQueue queue{limits};
  Fd socket, client;
};

std::string numbered(std::size_t size) {
  std::string text;
  while (text.size() < size) text += std::to_string(text.size()) + ",";
  text.resize(size);
  return text;
}

TEST_F(OutputQueues, KeepNothingThatTheSocketTakes) {
  EXPECT_EQ(queue.send(socket.get(), {.before = "a", .data = "b", .after = "c"}), Status::empty);
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(queue.sent(), 3U);
  EXPECT_EQ(take(), "abc");
}

TEST_F(OutputQueues, SendEveryPartOfAFrameAndNoEmptyOne) {
  EXPECT_EQ(queue.send(socket.get(), {.before = {}, .data = "b", .after = {}}), Status::empty);
  EXPECT_EQ(queue.send(socket.get(), {.before = {}, .data = {}, .after = "c"}), Status::empty);
  EXPECT_EQ(queue.send(socket.get(), {.before = {}, .data = {}, .after = {}}), Status::empty);
  EXPECT_EQ(take(), "bc");
}

TEST_F(OutputQueues, KeepTheRestInMemoryAndSendItInOrder) {
  fill();
  EXPECT_EQ(send("one "), Status::pending);
  EXPECT_EQ(send("two "), Status::pending);
  EXPECT_EQ(queue.send(socket.get(), {.before = "3", .data = "4", .after = "5"}), Status::pending);
  EXPECT_FALSE(queue.is_spooled());
  const auto text = take_all();
  EXPECT_TRUE(text.ends_with("#one two 345")) << text.substr(text.size() - 20);
  EXPECT_TRUE(queue.empty());
}

TEST_F(OutputQueues, SpoolWhatIsMoreThanTheMemoryTheyMayHave) {
  fill();
  const auto text = numbered(1 << 20);
  EXPECT_EQ(send(text), Status::pending);
  EXPECT_TRUE(queue.is_spooled());
  EXPECT_EQ(send("end"), Status::pending);
  EXPECT_TRUE(take_all().ends_with(text + "end"));
  EXPECT_FALSE(queue.is_spooled());
}

TEST_F(OutputQueues, LeaveATurnToOthersHoweverFastTheClientTakesWhatIsSpooled) {
  fill();
  const auto text = numbered(64 << 20);
  ASSERT_EQ(send(text), Status::pending);
  std::uint64_t taken = 0;
  std::thread reader([&] {
    std::array<char, 262144> piece;
    ssize_t count = 0;
    while ((count = read(client.get(), piece.data(), piece.size())) != 0) {
      if (count > 0) taken += static_cast<std::uint64_t>(count);
    }
  });
  std::uint64_t most = 0;
  for (auto status = Status::pending; status == Status::pending;) {
    const auto before = queue.sent();
    status = queue.flush(socket.get());
    most = std::max(most, queue.sent() - before);
    EXPECT_TRUE(status != Status::broken);
  }
  socket.reset();
  reader.join();
  EXPECT_GE(taken, text.size());
  EXPECT_LE(most, 5U << 20);
}

TEST_F(OutputQueues, TakeMoreWhileTheyDrain) {
  fill();
  std::string expected, got;
  for (int i = 0; i < 50; ++i) {
    const auto part = numbered(30'000 + static_cast<std::size_t>(i));
    expected += part;
    ASSERT_NE(send(part), Status::broken);
    got += take();
    ASSERT_NE(queue.flush(socket.get()), Status::broken);
  }
  got += take_all();
  EXPECT_TRUE(got.ends_with(expected));
}

TEST_F(OutputQueues, SendAFrameOfWhichTheSocketTakesAPart) {
  const auto text = numbered(4 << 20);
  EXPECT_EQ(queue.send(socket.get(), {.before = "(", .data = text, .after = ")"}), Status::pending);
  EXPECT_GT(queue.sent(), 0U);
  EXPECT_EQ(take_all(), "(" + text + ")");
  EXPECT_EQ(queue.sent(), text.size() + 2);
}

TEST_F(OutputQueues, SayThatTheClientIsGone) {
  client.reset();
  EXPECT_EQ(send("x"), Status::broken);
  EXPECT_EQ(queue.errno_value(), EPIPE);
}

TEST_F(OutputQueues, SayThatTheClientIsGoneWhileTheyFlush) {
  for (const std::size_t size : {1000, 1 << 20}) {
    fill();
    ASSERT_EQ(send(numbered(size)), Status::pending);
    client.reset();
    EXPECT_EQ(queue.flush(socket.get()), Status::broken);
    EXPECT_EQ(queue.errno_value(), EPIPE);
    EXPECT_TRUE(queue.empty());
    connect();
  }
}

TEST_F(OutputQueues, SayThatTheClientIsGoneWhileTheyKeepMore) {
  // Whoever writes without end, and never comes to a flush, must learn it.
  for (const std::size_t size : {1000, 1 << 20}) {
    fill();
    ASSERT_EQ(send(numbered(size)), Status::pending);
    ASSERT_EQ(send("x"), Status::pending);
    client.reset();
    EXPECT_EQ(send("x"), Status::broken);
    EXPECT_EQ(queue.errno_value(), EPIPE);
    EXPECT_TRUE(queue.empty());
    connect();
  }
}

TEST_F(OutputQueues, SendToAClientThatReadsAgainWhileTheyTakeMore) {
  fill();
  const auto text = numbered(1 << 20);
  ASSERT_EQ(send(text), Status::pending);
  std::string got;
  for (int i = 0; i < 100 && !queue.empty(); ++i) {
    got += take();
    ASSERT_NE(send("."), Status::broken);
  }
  EXPECT_TRUE(queue.empty()) << "without a flush";
  got += take();
  got.erase(0, got.find_first_not_of('#'));
  EXPECT_TRUE(got.starts_with(text + "."));
}

TEST_F(OutputQueues, AreBrokenWhereTheyCannotSpool) {
  limits.spool_directory = "/nonexistent";
  fill();
  EXPECT_EQ(send(numbered(1 << 20)), Status::broken);
  EXPECT_EQ(queue.errno_value(), ENOENT);
}

TEST_F(OutputQueues, AreAsNewOnceCleared) {
  fill();
  ASSERT_EQ(send(numbered(1 << 20)), Status::pending);
  queue.clear();
  EXPECT_TRUE(queue.empty());
  EXPECT_FALSE(queue.is_spooled());
  EXPECT_EQ(queue.sent(), 0U);
  take();
  EXPECT_EQ(send("x"), Status::empty);
  EXPECT_EQ(take(), "x");
}

TEST_F(OutputQueues, KnowHowMuchTheyKeep) {
  EXPECT_EQ(queue.size(), 0U);
  fill();
  const std::string text(100'000, 'x');
  EXPECT_EQ(send(text), Status::pending);
  EXPECT_EQ(queue.size(), text.size());
  EXPECT_TRUE(queue.is_spooled());
  static_cast<void>(take());
  static_cast<void>(queue.flush(socket.get()));
  EXPECT_LT(queue.size(), text.size());
  static_cast<void>(take_all());
  EXPECT_EQ(queue.size(), 0U);
}

TEST_F(OutputQueues, KeepTheOrderOfALongReplyThatItsClientIsAlwaysALittleBehind) {
  fill();
  std::string expected;
  std::string received;
  const std::string part(8192, 'x');
  for (int i = 0; i < 1000; ++i) {
    expected += std::to_string(i) + part;
    EXPECT_NE(send(std::to_string(i) + part), Status::broken);
    // The client is always a little behind.
    std::array<char, 8192> piece;
    const auto count = recv(client.get(), piece.data(), piece.size(), MSG_DONTWAIT);
    ASSERT_GT(count, 0);
    received.append(piece.data(), static_cast<std::size_t>(count));
  }
  EXPECT_FALSE(queue.is_spooled());
  received += take_all();
  received.erase(0, received.find_first_not_of('#'));
  EXPECT_TRUE(received == expected);
}

}  // namespace
}  // namespace green::http
