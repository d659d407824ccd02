#include "common/journal_socket.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/log.h"
#include "tests/common/fake_journal.h"

namespace green {
namespace {

using std::string_literals::operator""s;
using testing::HasSubstr;

TEST(JournalEntries, HaveALengthWhereAValueHasLines) {
  std::string entry;
  append_journal_field(entry, "A", "one=1");
  append_journal_field(entry, "B", "two\nFORGED=1");
  EXPECT_EQ(entry, "A=one=1\nB\n\x0c\0\0\0\0\0\0\0two\nFORGED=1\n"s);
}

TEST(JournalSockets, SendAnEntryAsADatagramOrAsASealedFile) {
  FakeJournal journal;
  const auto socket = JournalSocket::open(journal.path());
  ASSERT_TRUE(socket);
  ASSERT_TRUE(socket->send("A=1\n"));
  EXPECT_EQ(journal.take(), "A=1\n");
  const std::string large(8 << 20, 'x');
  ASSERT_TRUE(socket->send(large));
  EXPECT_EQ(journal.take(), large);
}

TEST(JournalSockets, NeverWaitForAJournalThatDoesNotRead) {
  FakeJournal journal;
  const auto socket = JournalSocket::open(journal.path());
  Result<void> sent;
  for (int i = 0; i < 100'000 && sent; ++i) sent = socket->send("A=1\n");
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().errno_value(), EAGAIN);
}

TEST(JournalSockets, SayThatThereIsNoJournal) {
  const auto socket = JournalSocket::open("/nonexistent/socket");
  ASSERT_TRUE(socket);
  EXPECT_EQ(socket->send("A=1\n").error().errno_value(), ENOENT);
}

}  // namespace
}  // namespace green
