#include "daemon/http/request_target.h"

#include <gtest/gtest.h>

namespace green::http {
namespace {

void expect(std::string_view method, std::string_view target, std::string_view path,
            std::string_view query, std::string_view authority) {
  const auto parsed = parse_target(method, target);
  ASSERT_TRUE(parsed) << target;
  EXPECT_EQ(parsed->path, path) << target;
  EXPECT_EQ(parsed->query, query) << target;
  EXPECT_EQ(parsed->authority, authority) << target;
}

TEST(RequestTargets, InOriginFormAreAPathAndAQuery) {
  expect("GET", "/", "/", "", "");
  expect("GET", "/a/b?c=d", "/a/b", "c=d", "");
  expect("GET", "/a?", "/a", "", "");
  expect("GET", "/a?b?c", "/a", "b?c", "");
  expect("GET", "//host/a", "//host/a", "", "");
  expect("GET", "/http://a", "/http://a", "", "");
}

TEST(RequestTargets, InAbsoluteFormNameAnAuthority) {
  expect("GET", "http://a", "/", "", "a");
  expect("GET", "HTTPS://a:443/b?c", "/b", "c", "a:443");
  expect("GET", "http://[::1]:80/", "/", "", "[::1]:80");
  expect("GET", "http://a?b", "/", "b", "a");
  expect("GET", "http://a/?b", "/", "b", "a");
}

TEST(RequestTargets, OfOptionsMayBeTheServerAsAWhole) {
  expect("OPTIONS", "*", "*", "", "");
  expect("OPTIONS", "http://a", "*", "", "a");
  expect("OPTIONS", "http://a/", "/", "", "a");
  expect("OPTIONS", "http://a?b", "/", "b", "a");
  EXPECT_FALSE(parse_target("GET", "*"));
}

TEST(RequestTargets, AreNothingElse) {
  for (const std::string_view target :
       {"", "a", "a:80", "http:", "http:/a", "http://", "http:///a", "http://u@a/", "http://a:x/",
        "ftp://a/", "://a", "/a#b", "http://a/#b", "**", "*?", "http://a b/", "http://[::1/"}) {
    EXPECT_FALSE(parse_target("OPTIONS", target)) << target;
  }
}

TEST(Hosts, AreNamesAndAddressesWithOrWithoutAPort) {
  for (const std::string_view host :
       {"a", "A.example", "a:", "a:0", "a:65535", "192.0.2.1", "[::1]", "[::1]:80", "[v1.x]",
        "[fe80::1%25eth0]", "xn--bcher-kva.example", "a_b", "a%20b", "a..b"}) {
    EXPECT_TRUE(is_valid_host(host)) << host;
  }
}

TEST(Hosts, AreNothingElse) {
  for (const std::string_view host :
       {"",        ":80", "a:65536", "a:123456", "a:-1",  "a:8x",     "a b",    "a/b",
        "u@a",     "a?b", "[",       "[]",       "[]:80", "[::1",     "[::1]x", "[::1]80",
        "[::1]:x", "::1", "a\"",     "a<b",      "a\\b",  "\xc3\xa4", "a:80:80"}) {
    EXPECT_FALSE(is_valid_host(host)) << host;
  }
  EXPECT_FALSE(is_valid_host(std::string_view("a\0b", 3)));
}

}  // namespace
}  // namespace green::http
