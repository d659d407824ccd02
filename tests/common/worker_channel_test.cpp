#include "common/worker_channel.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <cerrno>

namespace green {
namespace {

Message message_of(MessageType type, std::uint32_t slot) {
  Message message;
  message.type = type;
  message.slot = slot;
  return message;
}

TEST(WorkerChannel, CarriesAMessageItsDescriptorsAndItsSender) {
  auto channel = make_channel();
  ASSERT_TRUE(channel);
  const auto text = make_text_memfd("test", "hello");
  ASSERT_TRUE(text);
  const int descriptor = text->get();
  ASSERT_TRUE(
      send_message(channel->second.get(), message_of(MessageType::ready, 3), {&descriptor, 1}));
  const auto received = receive_message(channel->first.get());
  ASSERT_TRUE(received && *received);
  EXPECT_EQ((*received)->message.type, MessageType::ready);
  EXPECT_EQ((*received)->message.slot, 3U);
  EXPECT_EQ((*received)->sender, ::getpid());
  ASSERT_EQ((*received)->descriptors.size(), 1U);
  EXPECT_EQ(read_text((*received)->descriptors[0].get()), "hello");
  EXPECT_NE(::fcntl((*received)->descriptors[0].get(), F_GETFD) & FD_CLOEXEC, 0);
}

TEST(WorkerChannel, NamesTheForkedChildAsSender) {
  auto channel = make_channel();
  ASSERT_TRUE(channel);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const bool sent =
        send_message(channel->second.get(), message_of(MessageType::ready, 0)).has_value();
    ::_exit(sent ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  ASSERT_EQ(status, 0);
  const auto received = receive_message(channel->first.get());
  ASSERT_TRUE(received && *received);
  EXPECT_EQ((*received)->sender, child);
}

TEST(WorkerChannel, SaysEagainWhenNothingIsThereAndNothingWhenThePeerIsGone) {
  auto channel = make_channel();
  ASSERT_TRUE(channel);
  const auto empty = receive_message(channel->first.get());
  ASSERT_FALSE(empty);
  EXPECT_EQ(empty.error().errno_value(), EAGAIN);
  channel->second.reset();
  const auto gone = receive_message(channel->first.get());
  ASSERT_TRUE(gone);
  EXPECT_FALSE(*gone);
}

TEST(WorkerChannel, RefusesAMessageOfTheWrongSizeAndClosesItsDescriptors) {
  auto channel = make_channel();
  ASSERT_TRUE(channel);
  ASSERT_EQ(::send(channel->second.get(), "short", 5, 0), 5);
  const auto received = receive_message(channel->first.get());
  ASSERT_FALSE(received);
  EXPECT_EQ(received.error().code(), ErrorCode::protocol);
}

TEST(WorkerChannel, NeverBlocksWhenFull) {
  auto channel = make_channel();
  ASSERT_TRUE(channel);
  Result<void> sent;
  for (int i = 0; i < 100'000 && sent; ++i)
    sent = send_message(channel->first.get(), message_of(MessageType::drain, 0));
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().errno_value(), EAGAIN);
}

TEST(TextMemfd, CannotBeChangedAfterwardsAndIsReadUpToALimit) {
  const auto memfd = make_text_memfd("test", "0123456789");
  ASSERT_TRUE(memfd);
  EXPECT_LT(::write(memfd->get(), "x", 1), 0);
  EXPECT_EQ(read_text(memfd->get(), 4), "0123");
}

TEST(TextMemfd, ReadingAPipeInItsPlaceIsAnErrorAndDoesNotBlock) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const Fd read_end(ends[0]);
  const Fd write_end(ends[1]);
  EXPECT_FALSE(read_text(read_end.get()));
}

}  // namespace
}  // namespace green
