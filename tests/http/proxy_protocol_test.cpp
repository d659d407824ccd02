#include "daemon/http/proxy_protocol.h"

#include <gtest/gtest.h>

#include <array>

namespace green::http {
namespace {

using Status = ProxyHeaderRead::Status;
using Origin = ProxyHeader::Origin;

constexpr std::string_view signature("\r\n\r\n\0\r\nQUIT\n", 12);

std::string version_2(unsigned char version_and_command, unsigned char family,
                      std::string_view payload) {
  std::string bytes(signature);
  bytes += static_cast<char>(version_and_command);
  bytes += static_cast<char>(family);
  bytes += static_cast<char>(payload.size() >> 8);
  bytes += static_cast<char>(payload.size() & 0xff);
  return bytes.append(payload);
}

/// 192.0.2.7:4711 to 198.51.100.1:443
constexpr std::string_view v4_payload("\xc0\x00\x02\x07\xc6\x33\x64\x01\x12\x67\x01\xbb", 12);

void expect_client(const ProxyHeaderRead& read, std::size_t consumed) {
  ASSERT_EQ(read.status, Status::complete);
  EXPECT_EQ(read.consumed, consumed);
  EXPECT_EQ(read.header.origin, Origin::address);
  EXPECT_EQ(read.header.source_address, "192.0.2.7");
  EXPECT_EQ(read.header.source_port, "4711");
  EXPECT_EQ(read.header.destination_address, "198.51.100.1");
  EXPECT_EQ(read.header.destination_port, "443");
}

TEST(ProxyProtocol, ReadsALineOfVersion1) {
  const std::string line = "PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n";
  expect_client(read_proxy_header(line + "GET /"), line.size());
}

TEST(ProxyProtocol, ReadsIpv6InVersion1) {
  const auto read = read_proxy_header("PROXY TCP6 2001:DB8::7 ::1 1 65535\r\n");
  ASSERT_EQ(read.status, Status::complete);
  EXPECT_EQ(read.header.source_address, "2001:db8::7");
  EXPECT_EQ(read.header.destination_port, "65535");
  const auto mapped = read_proxy_header("PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n");
  EXPECT_EQ(mapped.header.source_address, "192.0.2.7");
}

TEST(ProxyProtocol, KnowsAnUnknownClientInVersion1) {
  for (const std::string_view line :
       {"PROXY UNKNOWN\r\n", "PROXY UNKNOWN ffff::1 ffff::2 1 2 whatever\r\n"}) {
    const auto read = read_proxy_header(line);
    ASSERT_EQ(read.status, Status::complete) << line;
    EXPECT_EQ(read.header.origin, Origin::unknown);
    EXPECT_EQ(read.consumed, line.size());
  }
}

TEST(ProxyProtocol, RefusesAMalformedLine) {
  for (const std::string_view line :
       {"PROXY TCP4 192.0.2.7 198.51.100.1 4711\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 4711 443 \r\n",
        "PROXY TCP4  192.0.2.7 198.51.100.1 4711 443\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 4711 65536\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 04711 443\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 -1 443\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 4711 443 1\r\n",
        "PROXY TCP4 192.0.2 198.51.100.1 4711 443\r\n", "PROXY TCP4 ::1 ::1 4711 443\r\n",
        "PROXY TCP6 192.0.2.7 198.51.100.1 4711 443\r\n",
        "PROXY UDP4 192.0.2.7 198.51.100.1 1 2\r\n", "PROXY \r\n", "PROXY TCP4\r\n",
        "proxy TCP4 192.0.2.7 198.51.100.1 4711 443\r\n", "GET / HTTP/1.1\r\n", "\r\n\r\nGET",
        " PROXY"}) {
    EXPECT_EQ(read_proxy_header(line).status, Status::malformed) << line;
  }
}

TEST(ProxyProtocol, ReadsNoMoreThanTheLongestLineOfVersion1) {
  const std::string longest = "PROXY UNKNOWN " + std::string(107 - 14 - 2, 'x');
  EXPECT_EQ(read_proxy_header(longest + "\r\n").status, Status::complete);
  EXPECT_EQ(read_proxy_header(longest + "x\r\n").status, Status::malformed);
  EXPECT_EQ(read_proxy_header(longest).status, Status::need_more);
}

TEST(ProxyProtocol, ReadsAddressesOfVersion2) {
  const auto bytes = version_2(0x21, 0x11, v4_payload);
  expect_client(read_proxy_header(bytes + "GET /"), bytes.size());
  std::string v6 = std::string("\x20\x01\x0d\xb8", 4) + std::string(11, '\0') + '\x07';
  v6 += std::string(15, '\0') + '\x01' + std::string("\x12\x67\x01\xbb", 4);
  const auto read = read_proxy_header(version_2(0x21, 0x21, v6));
  ASSERT_EQ(read.status, Status::complete);
  EXPECT_EQ(read.header.source_address, "2001:db8::7");
  EXPECT_EQ(read.header.destination_address, "::1");
  EXPECT_EQ(read.header.source_port, "4711");
}

TEST(ProxyProtocol, PassesOverExtensionsOfVersion2) {
  const auto bytes = version_2(0x21, 0x11, std::string(v4_payload) + std::string("\x04\0\1x", 4));
  expect_client(read_proxy_header(bytes), bytes.size());
}

TEST(ProxyProtocol, TellsTheProxysOwnConnectionsFromUnknownClients) {
  const auto local = read_proxy_header(version_2(0x20, 0x00, ""));
  ASSERT_EQ(local.status, Status::complete);
  EXPECT_EQ(local.header.origin, Origin::proxy);
  EXPECT_EQ(read_proxy_header(version_2(0x20, 0x11, v4_payload)).header.origin, Origin::proxy);
  for (const auto family : std::array<unsigned char, 2>{0x00, 0x31}) {
    const auto read = read_proxy_header(version_2(0x21, family, std::string(216, 'u')));
    ASSERT_EQ(read.status, Status::complete);
    EXPECT_EQ(read.header.origin, Origin::unknown);
  }
}

TEST(ProxyProtocol, RefusesWhatVersion2DoesNotKnow) {
  EXPECT_EQ(read_proxy_header(version_2(0x11, 0x11, v4_payload)).status, Status::malformed);
  EXPECT_EQ(read_proxy_header(version_2(0x31, 0x11, v4_payload)).status, Status::malformed);
  EXPECT_EQ(read_proxy_header(version_2(0x22, 0x11, v4_payload)).status, Status::malformed);
  EXPECT_EQ(read_proxy_header(version_2(0x21, 0x12, v4_payload)).status, Status::malformed)
      << "UDP";
  EXPECT_EQ(read_proxy_header(version_2(0x21, 0x41, v4_payload)).status, Status::malformed);
  EXPECT_EQ(read_proxy_header(version_2(0x21, 0x11, v4_payload.substr(1))).status,
            Status::malformed);
  EXPECT_EQ(read_proxy_header(version_2(0x21, 0x21, v4_payload)).status, Status::malformed);
  EXPECT_EQ(read_proxy_header(version_2(0x21, 0x11, std::string(4081, 'x'))).status,
            Status::malformed);
}

TEST(ProxyProtocol, WaitsForAHeaderCutAnywhere) {
  for (const std::string& whole : {std::string("PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n"),
                                   version_2(0x21, 0x11, v4_payload)}) {
    for (std::size_t i = 0; i < whole.size(); ++i) {
      EXPECT_EQ(read_proxy_header(whole.substr(0, i)).status, Status::need_more) << i;
    }
    expect_client(read_proxy_header(whole), whole.size());
  }
}

}  // namespace
}  // namespace green::http
