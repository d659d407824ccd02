#include "daemon/http/forwarded.h"

#include <gtest/gtest.h>

namespace green::http {
namespace {

class ForwardedHeaders : public ::testing::Test {
 protected:
  ForwardedHeaders() {
    trust({"127.0.0.1", "10.0.0.0/8", "unix:"});
    endpoints = {.remote_address = "127.0.0.1",
                 .remote_port = "1",
                 .local_address = "127.0.0.1",
                 .local_port = "8000"};
  }
  void trust(const std::vector<std::string>& names) { trusted = *TrustedPeers::create(names); }
  /// The request has "Host: inner" and these.
  void apply(std::vector<Header> more, bool believed = true) {
    headers = {{"Host", "inner"}};
    headers.insert(headers.end(), more.begin(), more.end());
    apply_forwarded(trusted, believed, headers, request, endpoints);
    EXPECT_EQ(request.headers.data(), headers.data());
    EXPECT_EQ(request.headers.size(), headers.size());
  }
  std::string_view header(std::string_view name) {
    for (const Header& one : request.headers) {
      if (one.name == name) return one.value;
    }
    return "(none)";
  }
  TrustedPeers trusted;
  std::vector<Header> headers;
  Request request;
  Endpoints endpoints;
};

TEST_F(ForwardedHeaders, AreRemovedWhenAnybodySentThem) {
  apply({{"X-Forwarded-For", "192.0.2.7"},
         {"x-forwarded-proto", "https"},
         {"X-FORWARDED-HOST", "evil"},
         {"X-Forwarded-Port", "1"},
         {"X-Forwarded-Prefix", "/admin"},
         {"X-Forwarded-Ssl", "on"},
         {"Forwarded", "for=192.0.2.7"},
         {"X-Other", "stays"}},
        false);
  EXPECT_EQ(endpoints.remote_address, "127.0.0.1");
  EXPECT_EQ(endpoints.remote_port, "1");
  EXPECT_EQ(endpoints.local_port, "8000");
  EXPECT_EQ(request.scheme, "http");
  ASSERT_EQ(request.headers.size(), 2U);
  EXPECT_EQ(header("Host"), "inner");
  EXPECT_EQ(header("X-Other"), "stays");
}

TEST_F(ForwardedHeaders, NameTheClientSchemeHostAndPort) {
  apply({{"X-Forwarded-For", "192.0.2.7"},
         {"X-Forwarded-Proto", "https"},
         {"X-Forwarded-Host", "shop.example:8443"},
         {"X-Forwarded-Port", "9443"}});
  EXPECT_EQ(endpoints.remote_address, "192.0.2.7");
  EXPECT_EQ(endpoints.remote_port, "") << "the proxy's own says nothing of the client";
  EXPECT_EQ(request.scheme, "https");
  EXPECT_EQ(header("Host"), "shop.example:8443");
  EXPECT_EQ(endpoints.local_port, "9443");
  EXPECT_EQ(endpoints.local_address, "127.0.0.1");
}

TEST_F(ForwardedHeaders, AreReadFromTheRightOverTrustedHops) {
  apply({{"X-Forwarded-For", "6.6.6.6, 192.0.2.7,10.1.1.1 , 10.2.2.2"}});
  EXPECT_EQ(endpoints.remote_address, "192.0.2.7") << "6.6.6.6 is what the client itself wrote";
}

TEST_F(ForwardedHeaders, StopAtTheFirstHopThatIsNotTrusted) {
  apply({{"X-Forwarded-For", "10.3.3.3, 192.0.2.7"}});
  EXPECT_EQ(endpoints.remote_address, "192.0.2.7");
}

TEST_F(ForwardedHeaders, NameTheLeftmostWhereAllAreTrusted) {
  apply({{"X-Forwarded-For", "10.3.3.3, 10.1.1.1"}});
  EXPECT_EQ(endpoints.remote_address, "10.3.3.3");
  trust({"*"});
  apply({{"X-Forwarded-For", "6.6.6.6, 192.0.2.7"}});
  EXPECT_EQ(endpoints.remote_address, "6.6.6.6");
}

TEST_F(ForwardedHeaders, MayHaveSeveralLines) {
  apply({{"X-Forwarded-For", "6.6.6.6"},
         {"X-Forwarded-For", "192.0.2.7"},
         {"X-Forwarded-For", ",10.1.1.1,,"}});
  EXPECT_EQ(endpoints.remote_address, "192.0.2.7");
}

TEST_F(ForwardedHeaders, GiveTheSchemeOfTheHopThatCounts) {
  apply({{"X-Forwarded-For", "192.0.2.7, 10.1.1.1"}, {"X-Forwarded-Proto", "https, http"}});
  EXPECT_EQ(request.scheme, "https") << "the outer proxy's, which the client spoke to";
}

TEST_F(ForwardedHeaders, DoNotLetAClientChooseTheScheme) {
  apply({{"X-Forwarded-For", "10.1.1.1, 192.0.2.7"}, {"X-Forwarded-Proto", "https, http"}});
  EXPECT_EQ(request.scheme, "http") << "https is what the client wrote";
  apply({{"X-Forwarded-Proto", "https, http"}});
  EXPECT_EQ(request.scheme, "http");
}

TEST_F(ForwardedHeaders, MayHaveFewerSchemesThanHops) {
  apply({{"X-Forwarded-For", "192.0.2.7, 10.1.1.1"}, {"X-Forwarded-Proto", "https"}});
  EXPECT_EQ(request.scheme, "https");
}

TEST_F(ForwardedHeaders, KnowTheFormsOfAnAddress) {
  struct Form {
    std::string_view text, address, port;
  };
  for (const Form& form :
       {Form{"192.0.2.7:4711", "192.0.2.7", "4711"}, Form{"2001:DB8::7", "2001:db8::7", ""},
        Form{"[2001:db8::7]", "2001:db8::7", ""}, Form{"[2001:db8::7]:80", "2001:db8::7", "80"},
        Form{"::ffff:192.0.2.7", "192.0.2.7", ""}, Form{"192.0.2.7:x", "192.0.2.7", ""}}) {
    apply({{"X-Forwarded-For", form.text}});
    EXPECT_EQ(endpoints.remote_address, form.address);
    EXPECT_EQ(endpoints.remote_port, form.port);
  }
}

TEST_F(ForwardedHeaders, ChangeNothingWhereTheyAreMalformed) {
  for (const std::string_view bad :
       {"unknown", "", ",", "_hidden", "[::1", "[::1]x", "1.2.3", "1.2.3.4:5:6", "\"", "a\"b"}) {
    apply({{"X-Forwarded-For", bad},
           {"X-Forwarded-Proto", "gopher"},
           {"X-Forwarded-Host", "a b/c"},
           {"X-Forwarded-Port", "99999"}});
    EXPECT_EQ(endpoints.remote_address, "127.0.0.1") << bad;
    EXPECT_EQ(request.scheme, "http");
    EXPECT_EQ(header("Host"), "inner");
    EXPECT_EQ(endpoints.local_port, "8000");
  }
}

TEST_F(ForwardedHeaders, TakeNoPortWithZerosInFront) {
  apply({{"X-Forwarded-For", "203.0.113.7"}, {"X-Forwarded-Port", "08"}});
  EXPECT_EQ(endpoints.remote_address, "203.0.113.7");
  EXPECT_EQ(endpoints.local_port, "8000");
}

TEST_F(ForwardedHeaders, KeepTheLastGoodHopBeforeAMalformedOne) {
  apply({{"X-Forwarded-For", "192.0.2.7, nonsense, 10.1.1.1"}});
  EXPECT_EQ(endpoints.remote_address, "10.1.1.1");
}

TEST_F(ForwardedHeaders, ImplyThePortOfTheSchemeOrTheHost) {
  apply({{"X-Forwarded-Proto", "https"}});
  EXPECT_EQ(endpoints.local_port, "443");
  apply({{"X-Forwarded-Proto", "http"}, {"X-Forwarded-Host", "a:81"}});
  EXPECT_EQ(endpoints.local_port, "81");
}

TEST_F(ForwardedHeaders, NameTheServerBehindAUnixSocket) {
  endpoints = {.remote_address = {},
               .remote_port = {},
               .local_address = "/run/green/a.sock",
               .local_port = {}};
  apply({{"X-Forwarded-For", "192.0.2.7"},
         {"X-Forwarded-Proto", "https"},
         {"X-Forwarded-Host", "[2001:db8::1]"}});
  EXPECT_EQ(endpoints.remote_address, "192.0.2.7");
  EXPECT_EQ(endpoints.local_address, "[2001:db8::1]");
  EXPECT_EQ(endpoints.local_port, "443");
}

TEST_F(ForwardedHeaders, GiveAHostToARequestWithoutOne) {
  headers = {{"X-Forwarded-Host", "shop.example"}};
  apply_forwarded(trusted, true, headers, request, endpoints);
  EXPECT_EQ(header("Host"), "shop.example");
}

TEST_F(ForwardedHeaders, AreUnderstoodInTheStandardForm) {
  apply({{"Forwarded", "for=192.0.2.7:4711;proto=https;by=10.1.1.1;host=shop.example"}});
  EXPECT_EQ(endpoints.remote_address, "192.0.2.7");
  EXPECT_EQ(endpoints.remote_port, "4711");
  EXPECT_EQ(request.scheme, "https");
  EXPECT_EQ(header("Host"), "shop.example");
  EXPECT_EQ(endpoints.local_port, "443");
}

TEST_F(ForwardedHeaders, OfTheStandardFormMayBeQuotedAndInAnyCase) {
  apply({{"Forwarded",
          "for=6.6.6.6, For = \"[2001:db8::7]:80\" ; HOST=\"a,b\";Host=\"x;y\" ;PROTO=HTTPS"},
         {"forwarded", "for=10.1.1.1"}});
  EXPECT_EQ(endpoints.remote_address, "2001:db8::7");
  EXPECT_EQ(endpoints.remote_port, "80");
  EXPECT_EQ(request.scheme, "https");
}

TEST_F(ForwardedHeaders, OfTheStandardFormTakeSchemeAndHostFromTheHopThatCountsOnly) {
  apply({{"Forwarded", "for=192.0.2.7, for=10.1.1.1;proto=https;host=other"}});
  EXPECT_EQ(endpoints.remote_address, "192.0.2.7");
  EXPECT_EQ(request.scheme, "http");
  EXPECT_EQ(header("Host"), "inner");
}

TEST_F(ForwardedHeaders, OfTheStandardFormMayHideTheClient) {
  for (const std::string_view hidden : {"for=unknown;proto=https", "for=_x;proto=https",
                                        "proto=https", "for=\"_x:_y\";proto=https"}) {
    apply({{"Forwarded", hidden}});
    EXPECT_EQ(endpoints.remote_address, "127.0.0.1") << hidden;
    EXPECT_EQ(request.scheme, "https") << hidden;
  }
}

TEST_F(ForwardedHeaders, OfAClientCannotSwallowWhatAProxyAppends) {
  for (const std::string_view forged :
       {"for=\"6.6.6.6, for=192.0.2.7", "for=\"6.6.6.6\\\", for=192.0.2.7", "\", for=192.0.2.7",
        "for=6.6.6.6;\"=\", for=192.0.2.7"}) {
    apply({{"Forwarded", forged}});
    EXPECT_EQ(endpoints.remote_address, "192.0.2.7") << forged;
  }
  for (const std::string_view forged : {"\"6.6.6.6, 192.0.2.7", "\"\", 192.0.2.7"}) {
    apply({{"X-Forwarded-For", forged}});
    EXPECT_EQ(endpoints.remote_address, "192.0.2.7") << forged;
  }
}

TEST_F(ForwardedHeaders, OfTheStandardFormLoseAgainstTheOthers) {
  apply({{"Forwarded", "for=6.6.6.6;proto=https;host=evil"}, {"X-Forwarded-For", "192.0.2.7"}});
  EXPECT_EQ(endpoints.remote_address, "192.0.2.7");
  EXPECT_EQ(request.scheme, "http");
  EXPECT_EQ(header("Host"), "inner");
  EXPECT_EQ(header("Forwarded"), "(none)") << "no proxy vouches for it";
  EXPECT_EQ(header("X-Forwarded-For"), "192.0.2.7");
}

TEST_F(ForwardedHeaders, AreKnownByName) {
  for (const std::string_view name : {"Forwarded", "X-Forwarded-For", "x-forwarded-anything"}) {
    EXPECT_TRUE(is_forwarding_header(name)) << name;
  }
  for (const std::string_view name :
       {"X-Forwarded", "X-Forwarded-", "Forwarded-For", "X-Real-IP"}) {
    EXPECT_FALSE(is_forwarding_header(name)) << name;
  }
}

TEST(TrustedPeers, AreNobodyUnlessNamed) {
  const TrustedPeers nobody;
  EXPECT_FALSE(nobody.trusts_peer("127.0.0.1"));
  EXPECT_FALSE(nobody.trusts_peer(""));
}

TEST(TrustedPeers, AreAddressesNetworksUnixSocketsOrAll) {
  const std::vector<std::string> names{"127.0.0.1", "2001:db8::/32"};
  auto peers = TrustedPeers::create(names);
  ASSERT_TRUE(peers);
  EXPECT_TRUE(peers->trusts_peer("127.0.0.1"));
  EXPECT_FALSE(peers->trusts_peer("127.0.0.2"));
  EXPECT_TRUE(peers->trusts_peer("2001:db8:1::1"));
  EXPECT_FALSE(peers->trusts_peer("")) << "a unix socket's peer is not named";
  EXPECT_FALSE(peers->trusts_peer("nonsense"));
  const std::vector<std::string> local{"unix:"};
  EXPECT_TRUE(TrustedPeers::create(local)->trusts_peer(""));
  EXPECT_FALSE(TrustedPeers::create(local)->trusts_peer("127.0.0.1"));
  const std::vector<std::string> all{"*"};
  EXPECT_TRUE(TrustedPeers::create(all)->trusts_peer(""));
  EXPECT_TRUE(TrustedPeers::create(all)->trusts_peer("192.0.2.7"));
  const std::vector<std::string> bad{"proxy"};
  EXPECT_FALSE(TrustedPeers::create(bad));
}

}  // namespace
}  // namespace green::http
