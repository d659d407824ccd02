// WebSocketCodec: what a client's bytes mean, each stream of them fed whole, byte by byte and cut
// in two at every byte; and the frames that a server sends.
#include "daemon/http/websocket_codec.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <string_view>

#include "tests/http/websocket_bytes.h"

namespace green::http {
namespace {

using testing::client_frame;
using testing::close_payload;
using testing::FrameOptions;
using namespace std::string_literals;

constexpr std::size_t limit = 1000;
constexpr unsigned continuation = 0, text = 1, binary = 2, close = 8, ping = 9, pong = 10;

std::string name_of(WebSocketEvent::Kind kind) {
  switch (kind) {
    case WebSocketEvent::Kind::need_more:
      return "";
    case WebSocketEvent::Kind::text:
      return "text";
    case WebSocketEvent::Kind::binary:
      return "binary";
    case WebSocketEvent::Kind::ping:
      return "ping";
    case WebSocketEvent::Kind::pong:
      return "pong";
    case WebSocketEvent::Kind::close:
      return "close";
    case WebSocketEvent::Kind::failure:
      return "failure";
  }
  return "?";
}

class WebSocketCodecs : public ::testing::Test {
 protected:
  /// "text hello; ping; close 1000 bye; failure 1002"
  std::string read(std::string_view input, std::size_t first, std::size_t step) {
    WebSocketCodec codec(limit, tools, agreement);
    std::string events;
    for (bool is_first = true; !input.empty(); is_first = false) {
      const std::size_t size = is_first && first > 0 ? first : step;
      auto piece = input.substr(0, size);
      input.remove_prefix(std::min(size, input.size()));
      for (;;) {
        const auto event = codec.next(piece);
        if (event.kind == WebSocketEvent::Kind::need_more) break;
        const bool is_failure = event.kind == WebSocketEvent::Kind::failure;
        events += (events.empty() ? "" : "; ") + name_of(event.kind);
        if (event.code != 0) events += " " + std::to_string(event.code);
        if (!is_failure && !event.data.empty()) events += " " + std::string(event.data);
        if (is_failure || event.kind == WebSocketEvent::Kind::close) return events;
      }
      EXPECT_TRUE(piece.empty());
    }
    return events;
  }

  void expect(std::string_view input, std::string_view events) {
    EXPECT_EQ(read(input, 0, input.size() + 1), events) << "whole";
    EXPECT_EQ(read(input, 0, 1), events) << "byte by byte";
    for (std::size_t cut = 1; cut < input.size(); ++cut) {
      ASSERT_EQ(read(input, cut, input.size()), events) << "cut at " << cut;
    }
  }

  CodecTools tools;
  std::optional<DeflateAgreement> agreement;
};

TEST_F(WebSocketCodecs, ReadTextAndBinaryMessages) {
  expect(client_frame(text, "hello") + client_frame(binary, "\xff\xfe"s) +
             client_frame(text, "gr\xc3\xbc\xc3\x9f"),
         "text hello; binary \xff\xfe; text gr\xc3\xbc\xc3\x9f");
}

TEST_F(WebSocketCodecs, ReadEmptyMessages) {
  expect(client_frame(text, "") + client_frame(binary, ""), "text; binary");
  expect(client_frame(text, "", {.fin = false}) + client_frame(continuation, ""), "text");
}

TEST_F(WebSocketCodecs, ReadEveryFormOfLength) {
  for (const std::size_t size : {1U, 125U, 126U, 127U, 500U, 1000U}) {
    const std::string payload(size, 'x');
    expect(client_frame(binary, payload), "binary " + payload);
  }
  WebSocketCodec codec(1 << 20, tools, {});
  for (const std::size_t size : {65'535U, 65'536U, 100'000U}) {
    std::string payload;
    for (std::size_t i = 0; i < size; ++i) payload += static_cast<char>(i % 251);
    const std::string frame = client_frame(binary, payload);
    std::string_view input = frame;
    EXPECT_EQ(codec.next(input).data, payload);
  }
}

TEST_F(WebSocketCodecs, RefuseLengthsThatAreNotInTheirShortestForm) {
  expect(client_frame(text, "hello", {.length_bytes = 2}), "failure 1002");
  expect(client_frame(text, "hello", {.length_bytes = 8}), "failure 1002");
  expect(client_frame(binary, std::string(300, 'x'), {.length_bytes = 8}), "failure 1002");
  expect("\x82\xff\x80\x00\x00\x00\x00\x00\x00\x00"s + "mask", "failure 1002");
}

TEST_F(WebSocketCodecs, PutFragmentsTogether) {
  expect(client_frame(text, "he", {.fin = false}) +
             client_frame(continuation, "ll", {.fin = false}) + client_frame(continuation, "o") +
             client_frame(binary, "next"),
         "text hello; binary next");
}

TEST_F(WebSocketCodecs, ReadControlFramesBetweenFragments) {
  expect(client_frame(text, "he", {.fin = false}) + client_frame(ping, "you there") +
             client_frame(continuation, "l", {.fin = false}) + client_frame(pong, "") +
             client_frame(continuation, "lo"),
         "ping you there; pong; text hello");
  expect(client_frame(text, "half", {.fin = false}) + client_frame(close, close_payload(1001)),
         "close 1001");
}

TEST_F(WebSocketCodecs, ReadPingsAndPongsOfEveryLength) {
  for (const std::size_t size : {1U, 2U, 124U, 125U}) {
    const std::string payload(size, 'p');
    expect(client_frame(ping, payload) + client_frame(pong, payload),
           "ping " + payload + "; pong " + payload);
  }
  expect(client_frame(ping, "") + client_frame(ping, "\xff\x00"s), "ping; ping \xff\0"s);
}

TEST_F(WebSocketCodecs, RefuseControlFramesThatAreLongOrFragments) {
  for (const unsigned opcode : {close, ping, pong}) {
    expect(client_frame(opcode, std::string(126, 'x')), "failure 1002");
    expect(client_frame(opcode, "", {.fin = false}), "failure 1002");
  }
}

TEST_F(WebSocketCodecs, RefuseFramesWithoutAMask) {
  expect(client_frame(text, "hello", {.is_masked = false}), "failure 1002");
  expect(client_frame(ping, "", {.is_masked = false}), "failure 1002");
}

TEST_F(WebSocketCodecs, RefuseOpcodesThatNobodyKnows) {
  for (const unsigned opcode : {3U, 4U, 5U, 6U, 7U, 11U, 12U, 13U, 14U, 15U}) {
    expect(client_frame(opcode, "x"), "failure 1002");
    expect(client_frame(text, "first") + client_frame(opcode, ""), "text first; failure 1002");
  }
}

TEST_F(WebSocketCodecs, RefuseReservedBitsThatWereNotAgreedOn) {
  for (unsigned reserved = 1; reserved < 8; ++reserved) {
    for (const unsigned opcode : {text, binary, ping, pong, close}) {
      expect(client_frame(opcode, "", {.reserved = reserved}), "failure 1002");
    }
    expect(client_frame(text, "a", {.fin = false}) +
               client_frame(continuation, "b", {.reserved = reserved}),
           "failure 1002");
  }
}

TEST_F(WebSocketCodecs, RefuseFragmentsOutOfOrder) {
  expect(client_frame(continuation, "x"), "failure 1002");
  expect(client_frame(continuation, "x", {.fin = false}), "failure 1002");
  expect(client_frame(text, "a") + client_frame(continuation, "b"), "text a; failure 1002");
  expect(client_frame(text, "a", {.fin = false}) + client_frame(text, "b"), "failure 1002");
  expect(client_frame(binary, "a", {.fin = false}) + client_frame(binary, "b", {.fin = false}),
         "failure 1002");
}

TEST_F(WebSocketCodecs, ReadClosesWithAndWithoutACodeAndAReason) {
  expect(client_frame(close, ""), "close 1005");
  expect(client_frame(close, close_payload(1000)), "close 1000");
  expect(client_frame(close, close_payload(4321, "gr\xc3\xbc\xc3\x9f")),
         "close 4321 gr\xc3\xbc\xc3\x9f");
  expect(client_frame(close, close_payload(1000, std::string(123, 'r'))),
         "close 1000 " + std::string(123, 'r'));
  for (const int code : {1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014,
                         3000, 3999, 4000, 4999}) {
    expect(client_frame(close, close_payload(code)), "close " + std::to_string(code));
  }
}

TEST_F(WebSocketCodecs, RefuseClosesThatMayNotBeSent) {
  expect(client_frame(close, "\x03"), "failure 1002");
  for (const int code : {0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65'535}) {
    expect(client_frame(close, close_payload(code)), "failure 1002");
  }
  expect(client_frame(close, close_payload(1000, "\xed\xa0\x80")), "failure 1007");
  expect(client_frame(close, close_payload(1000, "\xc3")), "failure 1007");
}

TEST_F(WebSocketCodecs, ReadNothingBehindAClose) {
  expect(client_frame(close, close_payload(1000)) + client_frame(text, "late"), "close 1000");
}

TEST_F(WebSocketCodecs, RefuseTextThatIsNotUtf8) {
  for (const auto* bad : {"\x80", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "ab\xff",
                          "\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80"
                          "edited"}) {
    expect(client_frame(text, bad), "failure 1007");
    expect(client_frame(binary, bad), "binary "s + bad);
  }
  expect(client_frame(text, "end of it\xe2\x82"), "failure 1007");
}

TEST_F(WebSocketCodecs, ReadACharacterSplitOverFragmentsAnywhere) {
  const std::string whole = "a\xc3\xa9z\xe2\x82\xac\xf0\x9f\x98\x80.";
  for (std::size_t one = 0; one <= whole.size(); ++one) {
    for (std::size_t two = one; two <= whole.size(); ++two) {
      const auto input = client_frame(text, whole.substr(0, one), {.fin = false}) +
                         client_frame(continuation, whole.substr(one, two - one), {.fin = false}) +
                         client_frame(ping, "") + client_frame(continuation, whole.substr(two));
      ASSERT_EQ(read(input, 0, input.size()), "ping; text " + whole) << one << " " << two;
      ASSERT_EQ(read(input, 0, 1), "ping; text " + whole) << one << " " << two;
    }
  }
}

TEST_F(WebSocketCodecs, RefuseBadTextBeforeItIsWhole) {
  auto frame = client_frame(text, "fine so far \xff" + std::string(500, 'x'));
  expect(frame.substr(0, 40), "failure 1007");
  expect(client_frame(text, "fine \xf4", {.fin = false}) +
             client_frame(continuation, "\x90", {.fin = false}),
         "failure 1007");
}

TEST_F(WebSocketCodecs, RefuseMessagesPastTheLimitAtTheHeadOfTheFrameThatPassesIt) {
  const std::string most(limit, 'x');
  expect(client_frame(binary, most), "binary " + most);
  expect(client_frame(binary, most + "x").substr(0, 8), "failure 1009");
  expect("\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff"s + "mask", "failure 1009");
  expect(client_frame(text, std::string(600, 'x'), {.fin = false}) +
             client_frame(continuation, std::string(400, 'x'), {.fin = false}) +
             client_frame(continuation, ""),
         "text " + most);
  expect(client_frame(text, std::string(600, 'x'), {.fin = false}) +
             client_frame(continuation, std::string(401, 'x')).substr(0, 8),
         "failure 1009");
}

class CompressingCodecs : public WebSocketCodecs {
 protected:
  CompressingCodecs() { agreement.emplace(); }
  std::string compressed(std::string_view message) {
    return std::string(tools.deflater.deflate(message, 15).value());
  }
};

TEST_F(CompressingCodecs, ReadCompressedMessagesAndOthers) {
  const std::string hello("\xf2\x48\xcd\xc9\xc9\x07\x00", 7);
  expect(client_frame(text, hello, {.reserved = 4}) + client_frame(text, "plain") +
             client_frame(binary, hello, {.reserved = 4}),
         "text Hello; text plain; binary Hello");
  expect(client_frame(text, std::string(1, '\0'), {.reserved = 4}), "text");
}

TEST_F(CompressingCodecs, PutCompressedFragmentsTogether) {
  const std::string hello("\xf2\x48\xcd\xc9\xc9\x07\x00", 7);
  for (std::size_t cut = 0; cut <= hello.size(); ++cut) {
    expect(client_frame(text, hello.substr(0, cut), {.fin = false, .reserved = 4}) +
               client_frame(ping, "p") + client_frame(continuation, hello.substr(cut)),
           "ping p; text Hello");
  }
}

TEST_F(CompressingCodecs, RefuseTheBitOnContinuationsAndControlFrames) {
  expect(client_frame(text, "a", {.fin = false, .reserved = 4}) +
             client_frame(continuation, "b", {.reserved = 4}),
         "failure 1002");
  for (const unsigned opcode : {close, ping, pong}) {
    expect(client_frame(opcode, "", {.reserved = 4}), "failure 1002");
  }
  expect(client_frame(text, "a", {.reserved = 6}), "failure 1002");
}

TEST_F(CompressingCodecs, RefuseWhatIsNoDeflateStream) {
  expect(client_frame(text, "\xff\xff\xff", {.reserved = 4}), "failure 1007");
}

TEST_F(CompressingCodecs, RefuseTextThatIsNotUtf8OnceInflated) {
  std::string bad(200, 'a');
  bad += "\xed\xa0\x80";
  expect(client_frame(text, compressed(bad), {.reserved = 4}), "failure 1007");
  expect(client_frame(binary, compressed(bad), {.reserved = 4}), "binary " + bad);
}

TEST_F(CompressingCodecs, RefuseMessagesThatInflatePastTheLimit) {
  const std::string most(limit, 'x');
  expect(client_frame(text, compressed(most), {.reserved = 4}), "text " + most);
  expect(client_frame(text, compressed(most + "x"), {.reserved = 4}), "failure 1009");
  expect(client_frame(text, compressed(std::string(10 << 20, 'x')).substr(0, 400), {.reserved = 4}),
         "failure 1009");
}

std::string bytes_of(const Frame& frame) {
  return std::string(frame.before).append(frame.data).append(frame.after);
}

TEST_F(WebSocketCodecs, WriteFramesWithoutAMaskInTheShortestForm) {
  WebSocketCodec codec(limit, tools, {});
  EXPECT_EQ(bytes_of(codec.message(MessageKind::text, "hello")), "\x81\x05hello");
  EXPECT_EQ(bytes_of(codec.message(MessageKind::binary, "")), "\x82\0"s);
  EXPECT_EQ(bytes_of(codec.message(MessageKind::binary, std::string(125, 'x'))).substr(0, 3),
            "\x82\x7dx");
  EXPECT_EQ(bytes_of(codec.message(MessageKind::binary, std::string(126, 'x'))).substr(0, 5),
            "\x82\x7e\x00\x7ex"s);
  EXPECT_EQ(bytes_of(codec.message(MessageKind::binary, std::string(65'535, 'x'))).substr(0, 5),
            "\x82\x7e\xff\xffx"s);
  const auto long_one = bytes_of(codec.message(MessageKind::binary, std::string(65'536, 'x')));
  EXPECT_EQ(long_one.substr(0, 11), "\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00x"s);
  EXPECT_EQ(long_one.size(), 65'546U);
  EXPECT_EQ(bytes_of(codec.ping("p")), "\x89\x01p");
  EXPECT_EQ(bytes_of(codec.pong("")), "\x8a\0"s);
  EXPECT_EQ(bytes_of(codec.close(1000, "bye")), "\x88\x05\x03\xe8"s + "bye");
  EXPECT_EQ(bytes_of(codec.close(close_no_status, "")), "\x88\0"s);
}

TEST_F(CompressingCodecs, CompressWhatIsWorthIt) {
  WebSocketCodec codec(limit, tools, agreement);
  EXPECT_EQ(bytes_of(codec.message(MessageKind::text, "hello")), "\x81\x05hello");
  const std::string message(5000, 'm');
  auto sent = bytes_of(codec.message(MessageKind::text, message));
  const auto frames = testing::take_server_frames(sent);
  ASSERT_EQ(frames.size(), 1U);
  EXPECT_EQ(frames[0].first, 0xc1U);
  EXPECT_LT(frames[0].payload.size(), 100U);
  std::string inflated;
  EXPECT_EQ(tools.deflater.inflate(frames[0].payload, message.size(), inflated),
            MessageDeflater::Inflation::done);
  EXPECT_EQ(inflated, message);
}

}  // namespace
}  // namespace green::http
