// Replies that end with a part of a file.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string>

#include "daemon/http/output_queue.h"

namespace green::http {
namespace {

using Status = OutputQueue::Status;

class FileReplies : public ::testing::Test {
 protected:
  FileReplies() {
    limits.output_memory = 64 << 10;
    limits.spool_directory = "/tmp";
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) std::abort();
    socket = Fd(ends[0]);
    client = Fd(ends[1]);
  }
  FilePart part(const std::string& content, std::uint64_t offset, std::uint64_t length) {
    Fd file(open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    EXPECT_EQ(pwrite(file.get(), content.data(), content.size(), 0),
              static_cast<ssize_t>(content.size()));
    kept = Fd(fcntl(file.get(), F_DUPFD_CLOEXEC, 0));
    return {.file = std::move(file), .offset = offset, .length = length};
  }
  Status send(FilePart one, std::string_view before = "<", std::string_view after = ">") {
    return queue.send_file(socket.get(), {.before = before, .data = {}, .after = after},
                           std::move(one));
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
  std::string take_all(Status status) {
    std::string text = take();
    for (int i = 0; i < 10'000 && status == Status::pending; ++i) {
      status = queue.flush(socket.get());
      text += take();
    }
    EXPECT_EQ(status, Status::empty);
    EXPECT_TRUE(queue.empty());
    return text;
  }
  Limits limits;
  OutputQueue queue{limits};
  Fd socket, client;
  Fd kept;  ///< the same open file
};

std::string numbered(std::size_t size) {
  std::string text;
  while (text.size() < size) text += std::to_string(text.size()) + ",";
  text.resize(size);
  return text;
}

TEST_F(FileReplies, SendAPartOfTheFileBetweenWhatFramesIt) {
  EXPECT_EQ(send(part("0123456789", 2, 5)), Status::empty);
  EXPECT_EQ(take(), "<23456>");
  EXPECT_EQ(queue.sent(), 7U);
}

TEST_F(FileReplies, SendTheFrameAloneWhereThePartIsEmpty) {
  EXPECT_EQ(send(part("0123456789", 10, 0)), Status::empty);
  EXPECT_EQ(take(), "<>");
}

TEST_F(FileReplies, GoOnWhereTheSocketLeftOffAndKeepNoneOfItInMemory) {
  const std::string content = numbered(3 << 20);
  const auto status = send(part(content, 0, content.size()));
  EXPECT_EQ(status, Status::pending);
  EXPECT_FALSE(queue.is_spooled());
  EXPECT_EQ(take_all(status), "<" + content + ">");
}

TEST_F(FileReplies, ComeBehindWhatWasKeptBefore) {
  const std::string large = numbered(1 << 20);
  EXPECT_EQ(queue.send(socket.get(), {.before = large, .data = {}, .after = {}}), Status::pending);
  EXPECT_TRUE(queue.is_spooled());
  EXPECT_EQ(take_all(send(part("file", 0, 4))), large + "<file>");
}

TEST_F(FileReplies, LeaveATurnToOthers) {
  // A file with holes costs nothing; a socket that a reader empties at once could take it whole.
  FilePart huge = part("", 0, 64 << 20);
  ASSERT_EQ(ftruncate(huge.file.get(), 64 << 20), 0);
  auto status = send(std::move(huge));
  std::size_t taken = take().size();
  std::uint64_t most = 0;
  while (status == Status::pending) {
    const auto before = queue.sent();
    status = queue.flush(socket.get());
    most = std::max(most, queue.sent() - before);
    taken += take().size();
  }
  EXPECT_EQ(taken, (64U << 20) + 2);
  EXPECT_LE(most, 5U << 20);
}

TEST_F(FileReplies, BreakWhereTheFileBecameShorter) {
  const std::string content = numbered(3 << 20);
  ASSERT_EQ(send(part(content, 0, content.size())), Status::pending);
  ASSERT_EQ(ftruncate(kept.get(), 10), 0);
  auto status = Status::pending;
  for (int i = 0; i < 1000 && status == Status::pending; ++i) {
    take();
    status = queue.flush(socket.get());
  }
  EXPECT_EQ(status, Status::broken);
  EXPECT_EQ(queue.errno_value(), EIO);
}

int pipe_signals = 0;

TEST_F(FileReplies, RaiseNoSignalWhenTheClientIsGone) {
  struct sigaction count{}, old{};
  count.sa_handler = [](int) { ++pipe_signals; };
  ASSERT_EQ(sigaction(SIGPIPE, &count, &old), 0);
  const std::string content = numbered(3 << 20);
  EXPECT_EQ(send(part(content, 0, content.size())), Status::pending);
  client.reset();
  EXPECT_EQ(queue.flush(socket.get()), Status::broken);
  EXPECT_EQ(queue.errno_value(), EPIPE);
  EXPECT_EQ(pipe_signals, 0);
  sigset_t mask;
  pthread_sigmask(SIG_SETMASK, nullptr, &mask);
  EXPECT_EQ(sigismember(&mask, SIGPIPE), 0) << "the mask is as before";
  sigaction(SIGPIPE, &old, nullptr);
}

}  // namespace
}  // namespace green::http
