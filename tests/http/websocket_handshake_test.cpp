// The WebSocket handshake: requests to offers, and the head of a 101.
#include "daemon/http/websocket_handshake.h"

#include <gtest/gtest.h>

#include "daemon/http/body.h"

namespace green::http {
namespace {

class Handshakes : public ::testing::Test {
 protected:
  Handshakes() : body(limits) {
    request.method = "GET";
    request.body = &body;
  }
  Request& asking() {
    request.headers = headers;
    return request;
  }
  void set(std::string_view name, std::string_view value) {
    std::erase_if(headers, [name](const Header& header) { return header.name == name; });
    headers.push_back({name, value});
  }
  int refused() {
    const auto offer = read_websocket_offer(asking());
    return offer ? 0 : offer.error().status;
  }

  Limits limits;
  Body body;
  Request request;
  std::vector<Header> headers{{"Host", "example.org"},
                              {"Upgrade", "websocket"},
                              {"Connection", "Upgrade"},
                              {"Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="},
                              {"Sec-WebSocket-Version", "13"}};
};

TEST_F(Handshakes, AreAnsweredAsTheSampleOfTheRfc) {
  EXPECT_EQ(websocket_accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
  ASSERT_TRUE(asks_for_websocket(asking()));
  const auto offer = read_websocket_offer(asking());
  ASSERT_TRUE(offer);
  EXPECT_EQ(make_websocket_reply(*offer, "", {}).value(),
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n");
}

TEST_F(Handshakes, AreToldFromOtherRequests) {
  set("Upgrade", "h2c, WebSocket");
  set("Connection", "keep-alive, upgrade");
  EXPECT_TRUE(asks_for_websocket(asking()));
  request.method = "POST";
  EXPECT_FALSE(asks_for_websocket(asking()));
  request.method = "GET";
  request.version_minor = 0;
  EXPECT_FALSE(asks_for_websocket(asking()));
  request.version_minor = 1;
  set("Connection", "keep-alive");
  EXPECT_FALSE(asks_for_websocket(asking()));
  set("Connection", "Upgrade");
  set("Upgrade", "h2c");
  EXPECT_FALSE(asks_for_websocket(asking()));
}

TEST_F(Handshakes, AreRefusedWithAKeyThatIsNone) {
  for (const auto* key :
       {"", "short", "dGhlIHNhbXBsZSBub25jZQ=", "dGhlIHNhbXBsZSBub25jZQ===",
        "dGhlIHNhbXBsZSBub25j!!==", "dGhlIHNhbXBsZSBub25jZSBh", "dGhlIHNhbXBsZSBub25jZQ==dGhl"}) {
    set("Sec-WebSocket-Key", key);
    EXPECT_EQ(refused(), 400) << key;
  }
  headers.pop_back();
  EXPECT_EQ(refused(), 400);
  headers.push_back({"Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="});
  EXPECT_EQ(refused(), 0);
  headers.push_back({"Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="});
  EXPECT_EQ(refused(), 400);
}

TEST_F(Handshakes, AreOfVersion13) {
  for (const auto* version : {"", "8", "14", "013", "13, 8"}) {
    set("Sec-WebSocket-Version", version);
    EXPECT_EQ(refused(), 426) << version;
  }
  headers.pop_back();
  EXPECT_EQ(refused(), 426);
}

TEST_F(Handshakes, HaveNoBody) {
  ASSERT_TRUE(body.append("x"));
  EXPECT_EQ(refused(), 400);
  body.clear();
  request.chunked = true;
  EXPECT_EQ(refused(), 400);
}

TEST_F(Handshakes, OfferSubprotocolsInOrderOverSeveralHeaders) {
  headers.push_back({"Sec-WebSocket-Protocol", "chat, superchat"});
  headers.push_back({"sec-websocket-protocol", "v2.json"});
  const auto offer = read_websocket_offer(asking());
  ASSERT_TRUE(offer);
  EXPECT_EQ(offer->subprotocols, (std::vector<std::string_view>{"chat", "superchat", "v2.json"}));
  EXPECT_NE(make_websocket_reply(*offer, "superchat", {})
                ->find("\r\nSec-WebSocket-Protocol: superchat\r\n"),
            std::string::npos);
  EXPECT_EQ(make_websocket_reply(*offer, "other", {}).error().code(), ErrorCode::application);
}

TEST_F(Handshakes, AreRefusedWithMalformedSubprotocols) {
  for (const auto* value : {"a b", "a;b", "chat, chat"}) {
    set("Sec-WebSocket-Protocol", value);
    EXPECT_EQ(refused(), 400) << value;
  }
}

TEST_F(Handshakes, AgreeOnCompression) {
  set("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits");
  const auto offer = read_websocket_offer(asking());
  ASSERT_TRUE(offer && offer->deflate);
  EXPECT_NE(
      make_websocket_reply(*offer, "", {})
          ->find("\r\nSec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; "
                 "client_no_context_takeover\r\n"),
      std::string::npos);
}

TEST_F(Handshakes, CarryTheApplicationsHeadersButNotTheServers) {
  const auto offer = read_websocket_offer(asking());
  const std::vector<Header> own{{"Set-Cookie", "a=1"},
                                {"X-Two", "2"},
                                {"Connection", "close"},
                                {"Upgrade", "h2c"},
                                {"Content-Length", "4"}};
  const auto reply = make_websocket_reply(*offer, "", own).value();
  EXPECT_NE(reply.find("\r\nSet-Cookie: a=1\r\nX-Two: 2\r\nUpgrade: websocket\r\n"),
            std::string::npos)
      << reply;
  EXPECT_EQ(reply.find("h2c"), std::string::npos);
  EXPECT_EQ(reply.find("Content-Length"), std::string::npos);
  for (const Header& bad :
       {Header{"Sec-WebSocket-Protocol", "chat"}, Header{"sec-websocket-accept", "x"},
        Header{"bad name", "x"}, Header{"X-Bad", "a\r\nb"}}) {
    EXPECT_FALSE(make_websocket_reply(*offer, "", std::span(&bad, 1))) << bad.name;
  }
}

}  // namespace
}  // namespace green::http
