#include "daemon/manager/listen_fds.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

namespace green::manager {
namespace {

using testing::HasSubstr;
using testing::StartsWith;
using StringList = std::vector<std::string>;

TEST(BindSockets, BindsIPv4AndSaysWhere) {
  const StringList addresses{"127.0.0.1:0"};
  const auto listeners = bind_sockets(addresses);
  ASSERT_TRUE(listeners) << listeners.error().message();
  ASSERT_EQ(listeners->size(), 1U);
  EXPECT_THAT((*listeners)[0].address, StartsWith("127.0.0.1:"));
}

TEST(BindSockets, NamesTheAddressThatIsInUse) {
  const auto first = bind_sockets(StringList{"127.0.0.1:0"});
  ASSERT_TRUE(first);
  const auto second = bind_sockets(StringList{(*first)[0].address});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code(), ErrorCode::configuration);
  EXPECT_THAT(second.error().message(), HasSubstr((*first)[0].address));
  EXPECT_THAT(second.error().message(), HasSubstr("in use"));
}

TEST(BindSockets, ReplacesAStaleUnixSocketButNotALivingOne) {
  const std::string path = testing::TempDir() + "/green-listen-test.sock";
  const StringList addresses{"unix:" + path};
  {
    const auto abandoned = bind_sockets(addresses);
    ASSERT_TRUE(abandoned) << abandoned.error().message();
  }
  const auto living = bind_sockets(addresses);
  ASSERT_TRUE(living) << living.error().message();
  struct stat status{};
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777U, 0666U);
  EXPECT_FALSE(bind_sockets(addresses));
  ::unlink(path.c_str());
}

TEST(BindSockets, DoesNotReplaceAFileThatIsNoSocket) {
  const std::string path = testing::TempDir() + "/green-listen-test.txt";
  std::fclose(std::fopen(path.c_str(), "w"));
  EXPECT_FALSE(bind_sockets(StringList{"unix:" + path}));
  EXPECT_EQ(::access(path.c_str(), F_OK), 0);
  ::unlink(path.c_str());
}

TEST(BindSockets, RefusesAPathThatIsTooLong) {
  const auto bound = bind_sockets(StringList{"unix:/" + std::string(200, 'x')});
  ASSERT_FALSE(bound);
  EXPECT_THAT(bound.error().message(), HasSubstr("longer than"));
}

/// In a child, because LISTEN_PID must be ours and the descriptors start at 3.
TEST(TakePassedSockets, KeepsListeningSocketsAndClosesTheRest) {
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const auto listening = bind_sockets(StringList{"127.0.0.1:0"});
    const Fd datagram(::socket(AF_INET, SOCK_DGRAM, 0));
    const Fd http(::fcntl(listening->front().fd.get(), F_DUPFD, 100));
    const Fd udp(::fcntl(datagram.get(), F_DUPFD, 100));
    ::dup2(http.get(), 3);
    ::dup2(udp.get(), 4);
    ::dup2(http.get(), 5);
    ::setenv("LISTEN_PID", std::to_string(::getpid()).c_str(), 1);
    ::setenv("LISTEN_FDS", "3", 1);
    ::setenv("LISTEN_FDNAMES", "http:http:metrics", 1);
    auto passed = take_passed_sockets();
    const bool right = passed && passed->any_passed && passed->listeners.size() == 1 &&
                       passed->listeners[0].fd.get() == 3 && ::fcntl(4, F_GETFD) < 0 &&
                       ::fcntl(5, F_GETFD) < 0 && std::getenv("LISTEN_FDS") == nullptr;
    ::_exit(right ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

TEST(TakePassedSockets, FindsNoneWhenNoneWerePassed) {
  const auto passed = take_passed_sockets();
  ASSERT_TRUE(passed);
  EXPECT_FALSE(passed->any_passed);
}

}  // namespace
}  // namespace green::manager
