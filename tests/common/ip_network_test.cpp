#include "common/ip_network.h"

#include <gmock/gmock.h>

namespace green {
namespace {

using testing::HasSubstr;

bool contains(std::string_view network, std::string_view address) {
  return parse_ip_network(network).value().contains(parse_ip_address(address).value());
}

TEST(IpAddresses, AreReadAndWrittenInOneSpelling) {
  for (const auto& [text, spelling] : {std::pair{"192.0.2.1", "192.0.2.1"},
                                       {"2001:DB8:0:0::1", "2001:db8::1"},
                                       {"::ffff:192.0.2.1", "192.0.2.1"},
                                       {"::", "::"}}) {
    const auto address = parse_ip_address(text);
    ASSERT_TRUE(address) << text;
    EXPECT_EQ(to_text(*address), spelling);
  }
}

TEST(IpAddresses, AreNothingElse) {
  for (const std::string_view text :
       {std::string_view(""), std::string_view("1.2.3"), std::string_view("1.2.3.4.5"),
        std::string_view("1.2.3.256"), std::string_view("01.2.3.4"), std::string_view(" 1.2.3.4"),
        std::string_view("[::1]"), std::string_view("fe80::1%eth0"), std::string_view("localhost"),
        std::string_view("1.2.3.4\0", 8), std::string_view("::1\0x", 5)}) {
    EXPECT_FALSE(parse_ip_address(text)) << text;
  }
  EXPECT_FALSE(parse_ip_address(std::string(1000, '1')));
}

TEST(IpNetworks, HoldTheAddressesOfTheirPrefix) {
  EXPECT_TRUE(contains("10.0.0.0/8", "10.255.255.255"));
  EXPECT_FALSE(contains("10.0.0.0/8", "11.0.0.0"));
  EXPECT_TRUE(contains("192.168.4.0/22", "192.168.7.1"));
  EXPECT_FALSE(contains("192.168.4.0/22", "192.168.8.1"));
  EXPECT_TRUE(contains("2001:db8::/33", "2001:db8:7fff::"));
  EXPECT_FALSE(contains("2001:db8::/33", "2001:db8:8000::"));
  EXPECT_TRUE(contains("192.0.2.1", "192.0.2.1"));
  EXPECT_FALSE(contains("192.0.2.1", "192.0.2.2"));
}

TEST(IpNetworks, AreOfOneFamily) {
  EXPECT_TRUE(contains("0.0.0.0/0", "1.2.3.4"));
  EXPECT_FALSE(contains("0.0.0.0/0", "::1"));
  EXPECT_FALSE(contains("::/0", "1.2.3.4"));
  EXPECT_TRUE(contains("10.0.0.0/8", "::ffff:10.1.1.1")) << "the same client, seen by IPv6";
}

TEST(IpNetworks, AreRefusedWithTheReason) {
  const auto reason = [](std::string_view text) {
    return parse_ip_network(text).error().message();
  };
  EXPECT_THAT(reason("proxy.example"), HasSubstr("no IP address or network"));
  EXPECT_THAT(reason("10.0.0.0/33"), HasSubstr("between 0 and 32"));
  EXPECT_THAT(reason("::/129"), HasSubstr("between 0 and 128"));
  EXPECT_THAT(reason("10.0.0.0/"), HasSubstr("between 0 and 32"));
  EXPECT_THAT(reason("10.0.0.0/-1"), HasSubstr("between 0 and 32"));
  EXPECT_THAT(reason("10.0.0.0/8x"), HasSubstr("between 0 and 32"));
  EXPECT_THAT(reason("10.1.0.0/8"), HasSubstr("did you mean \"10.0.0.0/8\"?"));
}

}  // namespace
}  // namespace green
