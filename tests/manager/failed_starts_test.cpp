#include "daemon/manager/failed_starts.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <cstring>

#include "tests/manager/notify_receiver.h"

namespace green::manager {
namespace {

using std::chrono::seconds;
using testing::ElementsAre;

/// The next datagram's descriptor, as a service manager keeps it.
Fd receive_descriptor(int fd, std::string& text) {
  std::array<char, 4096> buffer;
  alignas(cmsghdr) std::array<char, 256> control;
  iovec part{.iov_base = buffer.data(), .iov_len = buffer.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  const ssize_t size = ::recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
  text.assign(buffer.data(), size > 0 ? static_cast<std::size_t>(size) : 0);
  for (cmsghdr* one = CMSG_FIRSTHDR(&message); one != nullptr; one = CMSG_NXTHDR(&message, one)) {
    if (one->cmsg_type != SCM_RIGHTS) continue;
    int found = -1;
    std::memcpy(&found, CMSG_DATA(one), sizeof found);
    return Fd(found);
  }
  return {};
}

TEST(FailedStarts, AreCountedOnByTheNextGreend) {
  const NotifyReceiver receiver;
  EventLoop loop = std::move(*EventLoop::create());
  ServiceNotify notify(loop);
  FailedStarts first(notify);
  EXPECT_EQ(first.count(), 0U);
  ASSERT_TRUE(first.add());
  std::string text;
  Fd kept = receive_descriptor(receiver.fd(), text);
  ASSERT_TRUE(kept);
  EXPECT_EQ(text, "FDSTORE=1\nFDNAME=green-failed-starts");
  FailedStarts second(notify);
  second.take(std::move(kept));
  EXPECT_EQ(second.count(), 1U);
  ASSERT_TRUE(second.add());
  EXPECT_EQ(second.count(), 2U);
}

TEST(FailedStarts, AreForgottenOnceAndForAll) {
  NotifyReceiver receiver;
  EventLoop loop = std::move(*EventLoop::create());
  ServiceNotify notify(loop);
  FailedStarts failed(notify);
  failed.forget();
  EXPECT_THAT(receiver.take(), ElementsAre());
  ASSERT_TRUE(failed.add());
  receiver.take();
  failed.forget();
  EXPECT_THAT(receiver.take(), ElementsAre("FDSTOREREMOVE=1\nFDNAME=green-failed-starts"));
  EXPECT_EQ(failed.count(), 0U);
}

TEST(FailedStarts, ThatCanNotBeReadAreNone) {
  EventLoop loop = std::move(*EventLoop::create());
  ServiceNotify notify(loop);
  FailedStarts failed(notify);
  failed.take(Fd(::memfd_create("empty", MFD_CLOEXEC)));
  EXPECT_EQ(failed.count(), 0U);
}

TEST(FailedStarts, MakeTheNextOneWaitLongerUpTo30Seconds) {
  EXPECT_EQ(FailedStarts::wait_after(1), seconds(0));
  EXPECT_EQ(FailedStarts::wait_after(2), seconds(1));
  EXPECT_EQ(FailedStarts::wait_after(3), seconds(2));
  EXPECT_EQ(FailedStarts::wait_after(6), seconds(16));
  EXPECT_EQ(FailedStarts::wait_after(7), seconds(30));
  EXPECT_EQ(FailedStarts::wait_after(4'000'000'000U), seconds(30));
}

}  // namespace
}  // namespace green::manager
