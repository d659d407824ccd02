#include "daemon/http/endpoints.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

#include "common/fd.h"

namespace green::http {
namespace {

sockaddr_storage v6(const char* text, std::uint16_t port) {
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  address.sin6_port = htons(port);
  EXPECT_EQ(inet_pton(AF_INET6, text, &address.sin6_addr), 1);
  sockaddr_storage storage{};
  std::memcpy(&storage, &address, sizeof address);
  return storage;
}

/// Without a socket: the peer's side alone.
Endpoints of_peer(const sockaddr_storage& peer) { return make_endpoints(-1, peer, sizeof peer); }

TEST(EndpointTexts, AreOfAnIpv4Socket) {
  Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  sockaddr_storage peer{};
  address.sin_port = htons(4711);
  std::memcpy(&peer, &address, sizeof address);
  const auto endpoints = make_endpoints(socket.get(), peer, sizeof address);
  EXPECT_EQ(endpoints.remote_address, "127.0.0.1");
  EXPECT_EQ(endpoints.remote_port, "4711");
  EXPECT_EQ(endpoints.local_address, "127.0.0.1");
  EXPECT_NE(endpoints.local_port, "");
  EXPECT_NE(endpoints.local_port, "0");
}

TEST(EndpointTexts, AreOfIpv6InItsOneSpelling) {
  const auto endpoints = of_peer(v6("2001:DB8:0::7", 80));
  EXPECT_EQ(endpoints.remote_address, "2001:db8::7");
  EXPECT_EQ(endpoints.remote_port, "80");
}

TEST(EndpointTexts, ShowAnIpv4ClientOfADualStackListenerAsIpv4) {
  EXPECT_EQ(of_peer(v6("::ffff:192.0.2.7", 80)).remote_address, "192.0.2.7");
}

TEST(EndpointTexts, OfAUnixSocketAreItsPathAlone) {
  const std::string path = ::testing::TempDir() + "green-endpoints-test.sock";
  ::unlink(path.c_str());
  Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  ASSERT_LT(path.size(), sizeof address.sun_path);
  path.copy(address.sun_path, path.size());
  ASSERT_EQ(bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  sockaddr_storage peer{};
  peer.ss_family = AF_UNIX;
  const auto endpoints = make_endpoints(socket.get(), peer, sizeof(sa_family_t));
  EXPECT_EQ(endpoints.remote_address, "");
  EXPECT_EQ(endpoints.remote_port, "");
  EXPECT_EQ(endpoints.local_address, path);
  EXPECT_EQ(endpoints.local_port, "");
  ::unlink(path.c_str());
}

TEST(EndpointTexts, OfAUnixSocketWithoutAPathAreEmpty) {
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  const Fd one(ends[0]), other(ends[1]);
  sockaddr_storage peer{};
  peer.ss_family = AF_UNIX;
  EXPECT_EQ(make_endpoints(one.get(), peer, sizeof(sa_family_t)).local_address, "");
}

TEST(EndpointTexts, StayEmptyWhereTheSocketIsGone) {
  EXPECT_EQ(of_peer(v6("::1", 80)).local_address, "");
}

}  // namespace
}  // namespace green::http
