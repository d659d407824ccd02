#include "daemon/http/response_writer.h"

#include <gtest/gtest.h>

#include <vector>

namespace green::http {
namespace {

using Headers = std::vector<Header>;

class Writers : public ::testing::Test {
 protected:
  Writers() { date.get_at(0); }
  std::string text(const Frame& frame) {
    std::string all{frame.before};
    all += frame.data;
    all += frame.after;
    if (const auto at = all.find("Date: "); at != std::string::npos) {
      all.erase(at, all.find("\r\n", at) + 2 - at);
    }
    return all;
  }
  std::string whole(int status, const Headers& headers, std::string_view body) {
    EXPECT_TRUE(writer.start(status, "R", headers));
    return text(writer.next(body, true));
  }
  DateLine date;
  ResponseWriter writer{date};
};

TEST_F(Writers, AddTheLengthOfABodyThatIsKnownWhole) {
  writer.begin(false, 1, true);
  EXPECT_EQ(whole(200, {{"X", "1"}}, "abc"),
            "HTTP/1.1 200 R\r\nX: 1\r\nServer: green\r\nContent-Length: 3\r\n\r\nabc");
  EXPECT_TRUE(writer.keep_alive());
}

TEST_F(Writers, SendABodyOfUnknownLengthInChunks) {
  writer.begin(false, 1, true);
  ASSERT_TRUE(writer.start(200, "", {}));
  EXPECT_EQ(text(writer.next("abc", false)),
            "HTTP/1.1 200 \r\nServer: green\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
  EXPECT_EQ(text(writer.next(std::string(16, 'x'), false)), "10\r\nxxxxxxxxxxxxxxxx\r\n");
  EXPECT_EQ(text(writer.next("", false)), "") << "an empty chunk would end the body";
  EXPECT_EQ(text(writer.next("z", true)), "1\r\nz\r\n0\r\n\r\n");
  EXPECT_TRUE(writer.keep_alive());
}

TEST_F(Writers, EndWithTheTrailersThatWerePromised) {
  writer.begin(false, 1, true);
  writer.promise_trailers(true);
  ASSERT_TRUE(writer.start(200, "R", Headers{{"Trailer", "Digest"}, {"Content-Length", "3"}}));
  EXPECT_EQ(
      text(writer.next("abc", false)),
      "HTTP/1.1 200 R\r\nTrailer: Digest\r\nServer: green\r\nTransfer-Encoding: chunked\r\n\r\n"
      "3\r\nabc\r\n");
  EXPECT_TRUE(writer.add_trailers(Headers{{"Digest", "sha"}}));
  EXPECT_TRUE(writer.add_trailers(Headers{{"X-Took", "3"}, {"X-Took", "4"}}));
  EXPECT_EQ(text(writer.next("", true)), "0\r\nDigest: sha\r\nX-Took: 3\r\nX-Took: 4\r\n\r\n");
  EXPECT_TRUE(writer.keep_alive());

  writer.begin(false, 1, true);
  EXPECT_EQ(whole(200, {{"Trailer", "Digest"}}, "abc"),
            "HTTP/1.1 200 R\r\nServer: green\r\nContent-Length: 3\r\n\r\nabc")
      << "of the reply before alone";
}

TEST_F(Writers, RefuseTrailersThatHaveNoPlaceThere) {
  writer.begin(false, 1, true);
  EXPECT_FALSE(writer.add_trailers(Headers{{"Digest", "sha"}})) << "not promised";
  writer.promise_trailers(true);
  ASSERT_TRUE(writer.start(200, "R", {}));
  for (const char* name : {"Content-Length", "transfer-encoding", "Connection", "Trailer", "Host",
                           "Content-Type", "Content-Encoding", "bad name", ""}) {
    EXPECT_FALSE(writer.add_trailers(Headers{{"Good", "1"}, {name, "1"}})) << name;
  }
  EXPECT_FALSE(writer.add_trailers(Headers{{"X", "a\r\nb: c"}}));
  EXPECT_TRUE(text(writer.next("", true)).ends_with("\r\n\r\n0\r\n\r\n")) << "nothing of these";
}

TEST_F(Writers, SendNoTrailersWhereTheyCannotBe) {
  writer.begin(false, 0, true);
  writer.promise_trailers(true);
  ASSERT_TRUE(writer.start(200, "R", Headers{{"Trailer", "X"}, {"Content-Length", "3"}}));
  EXPECT_TRUE(writer.add_trailers(Headers{{"X", "1"}}));
  EXPECT_EQ(
      text(writer.next("abc", true)),
      "HTTP/1.1 200 R\r\nServer: green\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\nabc");
  for (const auto& [is_head, status] : {std::pair(true, 200), std::pair(false, 204)}) {
    writer.begin(is_head, 1, true);
    writer.promise_trailers(true);
    ASSERT_TRUE(writer.start(status, "R", {}));
    EXPECT_TRUE(writer.add_trailers(Headers{{"X", "1"}}));
    EXPECT_TRUE(text(writer.next("", true)).ends_with("Server: green\r\n\r\n"));
  }
}

TEST_F(Writers, FrameALargePartWithoutCopyingIt) {
  writer.begin(false, 1, true);
  ASSERT_TRUE(writer.start(200, "", {}));
  const std::string part(100'000, 'x');
  const auto frame = writer.next(part, true);
  EXPECT_EQ(frame.data.data(), part.data());
}

TEST_F(Writers, CloseAfterABodyOfUnknownLengthToHttp10) {
  writer.begin(false, 0, true);
  ASSERT_TRUE(writer.start(200, "R", {}));
  EXPECT_EQ(text(writer.next("abc", false)),
            "HTTP/1.1 200 R\r\nServer: green\r\nConnection: close\r\n\r\nabc");
  EXPECT_FALSE(writer.keep_alive());
}

TEST_F(Writers, SayKeepAliveToHttp10) {
  writer.begin(false, 0, true);
  EXPECT_EQ(
      whole(200, {}, "a"),
      "HTTP/1.1 200 R\r\nServer: green\r\nContent-Length: 1\r\nConnection: keep-alive\r\n\r\na");
}

TEST_F(Writers, SendNoBodyToHeadButItsLength) {
  writer.begin(true, 1, true);
  EXPECT_EQ(whole(200, {}, "abc"), "HTTP/1.1 200 R\r\nServer: green\r\nContent-Length: 3\r\n\r\n");
  writer.begin(true, 1, true);
  EXPECT_EQ(whole(200, {{"Content-Length", "99"}}, ""),
            "HTTP/1.1 200 R\r\nServer: green\r\nContent-Length: 99\r\n\r\n");
  EXPECT_FALSE(writer.fell_short());
  writer.begin(true, 1, true);
  EXPECT_EQ(whole(200, {}, ""), "HTTP/1.1 200 R\r\nServer: green\r\n\r\n")
      << "the application gave no body because of HEAD: who knows what GET would have had";
}

TEST_F(Writers, SayWhatMayBeSpokenInsteadWhereThatIsRequired) {
  writer.begin(false, 1, true);
  EXPECT_EQ(whole(426, {{"Upgrade", "websocket"}}, "a"),
            "HTTP/1.1 426 R\r\nUpgrade: websocket\r\nServer: green\r\nContent-Length: 1\r\n"
            "Connection: upgrade\r\n\r\na");
  writer.begin(false, 1, false);
  EXPECT_EQ(whole(426, {{"Upgrade", "websocket"}}, "a"),
            "HTTP/1.1 426 R\r\nUpgrade: websocket\r\nServer: green\r\nContent-Length: 1\r\n"
            "Connection: close, upgrade\r\n\r\na");
  writer.begin(false, 1, true);
  EXPECT_EQ(whole(200, {{"Upgrade", "h2c"}}, ""),
            "HTTP/1.1 200 R\r\nServer: green\r\nContent-Length: 0\r\n\r\n");
}

TEST_F(Writers, SendNoBodyWhereTheStatusForbidsIt) {
  writer.begin(false, 1, true);
  EXPECT_EQ(whole(204, {{"Content-Length", "3"}}, "abc"),
            "HTTP/1.1 204 R\r\nServer: green\r\n\r\n");
  writer.begin(false, 1, true);
  EXPECT_EQ(whole(304, {{"Content-Length", "3"}}, ""),
            "HTTP/1.1 304 R\r\nServer: green\r\nContent-Length: 3\r\n\r\n");
  writer.begin(false, 1, true);
  EXPECT_EQ(whole(304, {}, ""), "HTTP/1.1 304 R\r\nServer: green\r\n\r\n");
  for (const int status : {204, 304}) {
    writer.begin(false, 1, true);
    ASSERT_TRUE(writer.start(status, "", {}));
    EXPECT_FALSE(text(writer.next("part", false)).contains("Transfer-Encoding"));
    EXPECT_EQ(text(writer.next("part", true)), "");
    EXPECT_TRUE(writer.keep_alive());
  }
}

TEST_F(Writers, SendNoContentWhereTheClientResetsItsView) {
  // RFC 9110, 15.3.6; unlike 204 it is framed as any other (RFC 9112, 6.3).
  for (const Headers& headers : {Headers{}, Headers{{"Content-Length", "3"}}}) {
    writer.begin(false, 1, true);
    EXPECT_EQ(whole(205, headers, "abc"),
              "HTTP/1.1 205 R\r\nServer: green\r\nContent-Length: 0\r\n\r\n");
    EXPECT_FALSE(writer.overflowed());
    EXPECT_TRUE(writer.keep_alive());
  }
  writer.begin(false, 1, true);
  ASSERT_TRUE(writer.start(205, "", {}));
  EXPECT_TRUE(text(writer.next("part", false)).ends_with("Content-Length: 0\r\n\r\n"));
  EXPECT_EQ(text(writer.next("part", true)), "");
}

TEST_F(Writers, NoticeABodyThatIsNotAsLongAsDeclared) {
  writer.begin(false, 1, true);
  const Headers length{{"content-length", "3"}};
  ASSERT_TRUE(writer.start(200, "R", length));
  EXPECT_TRUE(text(writer.next("abcd", false)).ends_with("\r\n\r\nabc"));
  EXPECT_TRUE(writer.overflowed());
  writer.begin(false, 1, true);
  ASSERT_TRUE(writer.start(200, "R", length));
  writer.next("a", true);
  EXPECT_TRUE(writer.fell_short());
  EXPECT_FALSE(writer.keep_alive());
}

TEST_F(Writers, SayTheDateOfEveryReply) {
  for (const int status : {200, 204, 304, 404, 500}) {
    writer.begin(false, 1, true);
    ASSERT_TRUE(writer.start(status, "R", {}));
    EXPECT_TRUE(writer.next("", true).before.contains("\r\nDate: ")) << status;
  }
}

TEST_F(Writers, LeaveDateAndServerToTheApplicationThatSetsThem) {
  writer.begin(false, 1, true);
  ASSERT_TRUE(writer.start(200, "R", Headers{{"date", "D"}, {"SERVER", "S"}}));
  EXPECT_EQ(std::string(writer.next("", true).before),
            "HTTP/1.1 200 R\r\ndate: D\r\nSERVER: S\r\nContent-Length: 0\r\n\r\n");
}

TEST_F(Writers, KeepReasonsAndRepeatedHeadersAsTheyAre) {
  writer.begin(false, 1, true);
  ASSERT_TRUE(
      writer.start(299, "Fine, thank you", Headers{{"Set-Cookie", "a"}, {"set-cookie", "b"}}));
  EXPECT_TRUE(
      text(writer.next("", true))
          .starts_with("HTTP/1.1 299 Fine, thank you\r\nSet-Cookie: a\r\nset-cookie: b\r\n"));
}

TEST_F(Writers, DropHopByHopHeadersAndHonourClose) {
  writer.begin(false, 1, true);
  EXPECT_EQ(whole(200,
                  {{"Connection", "x, Close"},
                   {"Keep-Alive", "1"},
                   {"Upgrade", "h2c"},
                   {"TE", "x"},
                   {"trailer", "x"},
                   {"Proxy-Connection", "x"}},
                  ""),
            "HTTP/1.1 200 R\r\nServer: green\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
  EXPECT_FALSE(writer.keep_alive());
}

TEST_F(Writers, RefuseWhatWouldForgeAReply) {
  writer.begin(false, 1, true);
  for (const Header& header : Headers{{"X", "a\r\nY: b"},
                                      {"X", "a\nb"},
                                      {"X", "a\rb"},
                                      {"X", "\r"},
                                      {"X", "a\x7f"},
                                      {"X", std::string_view("a\0b", 3)},
                                      {"X Y", "a"},
                                      {"X:", "a"},
                                      {"", "a"},
                                      {"X\r\n", "a"},
                                      {"X\r", "a"},
                                      {std::string_view("X\0", 2), "a"},
                                      {"Transfer-Encoding", "chunked"},
                                      {"Content-Length", "-1"},
                                      {"Content-Length", "1x"},
                                      {"Content-Length", ""},
                                      {"Content-Length", "99999999999999999999"}}) {
    const auto started = writer.start(200, "R", {&header, 1});
    ASSERT_FALSE(started) << header.name << ": " << header.value;
    EXPECT_EQ(started.error().code(), ErrorCode::application);
    EXPECT_FALSE(writer.started());
  }
  for (const std::string_view reason : {std::string_view("a\r\nb"), std::string_view("a\n"),
                                        std::string_view("\ra"), std::string_view("a\0b", 3)}) {
    EXPECT_FALSE(writer.start(200, reason, {})) << reason;
  }
  EXPECT_FALSE(writer.start(200, "R", Headers{{"Content-Length", "1"}, {"Content-Length", "2"}}));
  for (const int status : {-1, 0, 99, 100, 199, 1000}) EXPECT_FALSE(writer.start(status, "", {}));
}

TEST_F(Writers, StartAnewWhileNothingWasMade) {
  writer.begin(false, 1, true);
  ASSERT_TRUE(writer.start(200, "OK", Headers{{"Content-Length", "7"}}));
  EXPECT_EQ(whole(500, {}, "e"), "HTTP/1.1 500 R\r\nServer: green\r\nContent-Length: 1\r\n\r\ne");
  EXPECT_FALSE(writer.start(200, "OK", {}));
}

TEST(InterimResponses, AreAStatusAndHeadersAlone) {
  const Headers headers{{"Link", "a"}, {"Link", "b"}};
  EXPECT_EQ(make_interim(103, headers).value(),
            "HTTP/1.1 103 Early Hints\r\nLink: a\r\nLink: b\r\n\r\n");
  EXPECT_EQ(make_interim(199, {}).value(), "HTTP/1.1 199 \r\n\r\n");
}

TEST(InterimResponses, HaveNoHeadersOfTheConnectionOrTheBody) {
  const Headers headers{{"Connection", "close"},
                        {"content-length", "1"},
                        {"Keep-Alive", "1"},
                        {"TE", "x"},
                        {"Trailer", "x"},
                        {"Upgrade", "x"},
                        {"Transfer-Encoding", "chunked"}};
  EXPECT_EQ(make_interim(103, headers).value(), "HTTP/1.1 103 Early Hints\r\n\r\n");
}

TEST(InterimResponses, RefuseWhatWouldForgeAReply) {
  for (const int status : {-1, 0, 99, 100, 101, 200, 1000}) EXPECT_FALSE(make_interim(status, {}));
  for (const Header& header :
       Headers{{"X", "a\r\nY: b"}, {"X", "a\n"}, {"X Y", "a"}, {"", "a"}, {"X\r\n", ""}}) {
    const auto interim = make_interim(103, {&header, 1});
    ASSERT_FALSE(interim);
    EXPECT_EQ(interim.error().code(), ErrorCode::application);
  }
}

}  // namespace
}  // namespace green::http
