// Limits and the parser's own contract; what requests mean is in cases/.
#include "daemon/http/request_parser.h"

#include <gtest/gtest.h>

namespace green::http {
namespace {

class Parsers : public ::testing::Test {
 protected:
  Parsers() {
    limits.request_line = 100;
    limits.header_count = 4;
    limits.head_bytes = 400;
    limits.field_bytes = 350;
  }
  using Progress = RequestParser::Progress;
  /// In parts of `part` bytes.
  int status_of(std::string_view input, std::size_t part) {
    RequestParser parser(limits, body);
    body.clear();
    while (!input.empty()) {
      const auto step = parser.feed(input.substr(0, part));
      if (step.progress == Progress::rejected) return parser.rejection().status;
      if (step.progress == Progress::complete) return 200;
      input.remove_prefix(step.consumed);
    }
    return 0;
  }
  void expect_status(int status, const std::string& input) {
    for (const std::size_t part : {std::size_t{1}, std::size_t{7}, input.size()}) {
      EXPECT_EQ(status_of(input, part), status) << "in parts of " << part;
    }
  }
  Limits limits;
  Body body{limits};
};

const std::string host = "Host: a\r\n";

TEST_F(Parsers, TakeARequestLineOfTheLimitAndRefuseALongerOne) {
  const std::string fits =
      "GET /" + std::string(100 - 5 - 9, 'x') + " HTTP/1.1\r\n" + host + "\r\n";
  expect_status(200, fits);
  expect_status(414, "GET /x" + fits.substr(5));
}

TEST_F(Parsers, RefuseATargetThatNeverEnds) {
  expect_status(414, "GET /" + std::string(10'000, 'x'));
}

TEST_F(Parsers, TakeAsManyHeadersAsTheLimitAndRefuseMore) {
  const std::string start = "GET / HTTP/1.1\r\n" + host;
  expect_status(200, start + "A: 1\r\nB: 2\r\nC: 3\r\n\r\n");
  expect_status(431, start + "A: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\n\r\n");
  expect_status(431, start + "A:\r\nB:\r\nC:\r\nD:\r\n\r\n");
}

TEST_F(Parsers, RefuseAHeadPastTheLimit) {
  const std::string start = "GET / HTTP/1.1\r\n" + host;
  expect_status(200, start + "A: " + std::string(300, 'x') + "\r\n\r\n");
  expect_status(
      431, start + "A: " + std::string(200, 'x') + "\r\nB: " + std::string(200, 'x') + "\r\n\r\n");
  expect_status(431, start + std::string(100'000, 'x'));
}

TEST_F(Parsers, RefuseEmptyLinesWithoutEnd) {
  std::string lines;
  for (int i = 0; i < 1000; ++i) lines += "\r\n";
  expect_status(431, lines);
}

TEST_F(Parsers, RefuseTrailersPastTheLimit) {
  std::string trailers;
  for (int i = 0; i < 100; ++i) trailers += "X-Trailer: value\r\n";
  expect_status(
      431, "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n0\r\n" + trailers);
}

TEST_F(Parsers, RefuseChunkExtensionsPastTheLimit) {
  const std::string start = "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n";
  expect_status(200, start + "1;a=b\r\nx\r\n1;c=d\r\nx\r\n0\r\n\r\n");
  expect_status(400, start + "1;a=" + std::string(351, 'b') + "\r\nx\r\n0\r\n\r\n");
}

TEST_F(Parsers, RefuseMoreChunkExtensionsThanBody) {
  std::string input = "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n";
  for (int i = 0; i < 20; ++i) input += "1;a=" + std::string(30, 'b') + "\r\nx\r\n";
  expect_status(400, input);
}

TEST_F(Parsers, TakeAHeaderOfTheLimitAndRefuseALongerOne) {
  const std::string start = "GET / HTTP/1.1\r\n" + host;
  expect_status(200, start + "A: " + std::string(347, 'x') + "\r\n\r\n");
  expect_status(431, start + "A: " + std::string(348, 'x') + "\r\n\r\n");
  expect_status(431, start + std::string(351, 'a'));
}

TEST_F(Parsers, DropHeadersWithAnUnderscore) {
  RequestParser parser(limits, body);
  ASSERT_EQ(parser.feed("GET / HTTP/1.1\r\n" + host + "X_A: 1\r\nX-A: 2\r\n\r\n").progress,
            Progress::complete);
  ASSERT_EQ(parser.request().headers.size(), 2U);
  EXPECT_EQ(parser.request().headers[1].name, "X-A");
}

TEST_F(Parsers, RefuseHeadersWithAnUnderscoreWhereToldTo) {
  limits.header_map = HeaderMap::refuse;
  expect_status(400, "GET / HTTP/1.1\r\n" + host + "X_A: 1\r\n\r\n");
  expect_status(200, "GET / HTTP/1.1\r\n" + host + "X-A: 1\r\n\r\n");
}

TEST_F(Parsers, RefuseALongUnknownMethod) {
  expect_status(501, std::string(1000, 'X'));
  expect_status(400, "X\x01");
  // What decides is within the first bytes, however many come at once.
  expect_status(501, std::string(100, 'X') + "\x01");
  expect_status(400, std::string(60, 'X') + "\x01" + std::string(100, 'X'));
}

TEST_F(Parsers, RefuseAHeadPastTheLimitWhateverComesBehindIt) {
  const std::string start = "GET / HTTP/1.1\r\n" + host + "A: " + std::string(200, 'x') + "\r\nB: ";
  expect_status(431, start + std::string(200, 'x') + "\r\nmalformed\r\n\r\n");
}

TEST_F(Parsers, ConsumeNoByteOfTheNextRequest) {
  RequestParser parser(limits, body);
  const std::string one = "GET /1 HTTP/1.1\r\n" + host + "\r\n";
  const auto step = parser.feed(one + "GET /2 HTTP/1.1\r\n");
  EXPECT_EQ(step.progress, Progress::complete);
  EXPECT_EQ(step.consumed, one.size());
  EXPECT_EQ(parser.feed("GET").consumed, 0U) << "complete until begin()";
}

TEST_F(Parsers, KeepTheirViewsWhenTheInputIsGone) {
  RequestParser parser(limits, body);
  {
    std::string input = "GET /1 HTTP/1.1\r\n" + host + "\r\n";
    ASSERT_EQ(parser.feed(input).progress, Progress::complete);
    input.assign(input.size(), '#');
  }
  EXPECT_EQ(parser.request().target, "/1");
  EXPECT_EQ(parser.request().headers[0].value, "a");
}

TEST_F(Parsers, StopBetweenHeadAndBody) {
  RequestParser parser(limits, body);
  const std::string head = "POST / HTTP/1.1\r\n" + host + "Content-Length: 3\r\n\r\n";
  const auto step = parser.feed(head + "abc");
  EXPECT_EQ(step.progress, Progress::head);
  EXPECT_EQ(step.consumed, head.size());
  EXPECT_EQ(parser.feed("abcd").consumed, 3U);
  EXPECT_EQ(body.memory(), "abc");
}

TEST_F(Parsers, KnowEmptyLinesFromABeginning) {
  RequestParser parser(limits, body);
  EXPECT_FALSE(parser.has_begun());
  parser.feed("\r\n");
  EXPECT_FALSE(parser.has_begun());
  parser.feed("G");
  EXPECT_TRUE(parser.has_begun());
}

TEST_F(Parsers, RefuseABodyThatCannotBeStored) {
  limits.body_memory = 1;
  limits.spool_directory = "/nonexistent";
  expect_status(500, "POST / HTTP/1.1\r\n" + host + "Content-Length: 9\r\n\r\n123456789");
}

}  // namespace
}  // namespace green::http
