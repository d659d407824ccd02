// permessage-deflate: which offers are accepted (RFC 7692, 7.1), and messages there and back.
#include "daemon/http/websocket_deflate.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace green::http {
namespace {

using Inflation = MessageDeflater::Inflation;

constexpr std::string_view both =
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

std::string answer_to(std::string_view offers) {
  const auto agreement = choose_deflate(offers);
  return agreement ? agreement->text() : "";
}

std::string inflated(std::string_view compressed, std::size_t limit = 1 << 20) {
  MessageDeflater deflater;
  std::string message;
  EXPECT_EQ(deflater.inflate(compressed, limit, message), Inflation::done);
  return message;
}

TEST(DeflateOffers, AreMetWithoutContextTakeover) {
  for (const auto* offer :
       {"permessage-deflate", "Permessage-Deflate", "permessage-deflate; client_max_window_bits",
        "permessage-deflate; client_max_window_bits=8",
        "permessage-deflate;client_max_window_bits=\"15\";server_no_context_takeover",
        "permessage-deflate; client_no_context_takeover", "foo, permessage-deflate",
        "foo; bar=\"permessage-deflate, x;\" , permessage-deflate"}) {
    EXPECT_EQ(answer_to(offer), both) << offer;
  }
}

TEST(DeflateOffers, MayBoundTheServersWindow) {
  EXPECT_EQ(answer_to("permessage-deflate; server_max_window_bits=10"),
            std::string(both) + "; server_max_window_bits=10");
  EXPECT_EQ(choose_deflate("permessage-deflate; server_max_window_bits=\"9\"")->server_window_bits,
            9);
}

TEST(DeflateOffers, ThatCannotBeMetArePassedOver) {
  for (const auto* offer :
       {"", "foo", "permessage-deflate; server_max_window_bits=8",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_max_window_bits=7",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits=09",
        "permessage-deflate; server_max_window_bits=1x",
        "permessage-deflate; client_max_window_bits=7",
        "permessage-deflate; client_max_window_bits=\"\"",
        "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        "permessage-deflate; client_max_window_bits; client_max_window_bits",
        "permessage-deflate; unknown", "permessage-deflate; =", "permessage-bzip2"}) {
    EXPECT_EQ(answer_to(offer), "") << offer;
  }
}

TEST(DeflateOffers, OfSeveralTheFirstThatCanBeMetIsTaken) {
  EXPECT_EQ(answer_to("permessage-deflate; server_max_window_bits=8, permessage-deflate; "
                      "server_max_window_bits=12, permessage-deflate"),
            std::string(both) + "; server_max_window_bits=12");
}

TEST(Deflaters, InflateTheSamplesOfTheirRfc) {
  const std::string_view hello = "Hello";
  EXPECT_EQ(inflated({"\xf2\x48\xcd\xc9\xc9\x07\x00", 7}), hello);                   // 7.2.3.1
  EXPECT_EQ(inflated({"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", 11}), hello);  // 7.2.3.3
  EXPECT_EQ(inflated({"\xf3\x48\xcd\xc9\xc9\x07\x00\x00", 8}), hello);  // 7.2.3.4: BFINAL
  EXPECT_EQ(inflated({"\xf3\x48\xcd\xc9\xc9\x07\x00", 7}), hello);
  // 7.2.3.5: two blocks.
  EXPECT_EQ(inflated({"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", 13}), hello);
  EXPECT_EQ(inflated({"\x00", 1}), "");  // 7.2.3.6
}

TEST(Deflaters, NeverMakeMoreThanTheLimit) {
  MessageDeflater deflater;
  const std::string zeros(1 << 20, '\0');
  const std::string compressed(*deflater.deflate(zeros, 15));
  EXPECT_LT(compressed.size(), 8192U);
  std::string message;
  EXPECT_EQ(deflater.inflate(compressed, zeros.size() - 1, message), Inflation::too_long);
  EXPECT_LE(message.size(), zeros.size());
  EXPECT_EQ(deflater.inflate(compressed, 100, message), Inflation::too_long);
  EXPECT_LE(message.size(), 100U);
  EXPECT_EQ(deflater.inflate(compressed, zeros.size(), message), Inflation::done);
  EXPECT_EQ(message, zeros);
}

TEST(Deflaters, RefuseWhatIsNoStreamAndGoOnWithTheNext) {
  MessageDeflater deflater;
  std::string message;
  for (const std::string_view bad : {std::string_view("\xff\xff\xff\xff"), std::string_view("\x07"),
                                     std::string_view("plain text")}) {
    EXPECT_EQ(deflater.inflate(bad, 1000, message), Inflation::malformed) << bad;
    EXPECT_EQ(deflater.inflate({"\xf2\x48\xcd\xc9\xc9\x07\x00", 7}, 1000, message),
              Inflation::done);
    EXPECT_EQ(message, "Hello");
  }
}

TEST(Deflaters, RefuseAMessageThatEndsWithinABlock) {
  MessageDeflater deflater;
  std::string text;
  for (int i = 0; i < 20; ++i) text += "amount " + std::to_string(i * i * i) + ", ";
  const auto compressed = deflater.deflate(text, 15);
  ASSERT_TRUE(compressed);
  const std::string whole(*compressed);
  std::string message;
  for (std::size_t size = 1; size < whole.size(); ++size) {
    const auto found = deflater.inflate(whole.substr(0, size), 1000, message);
    // The last byte only closes the block that RFC 7692, 7.2.1 takes the tail from.
    if (found == Inflation::done)
      EXPECT_EQ(message, text) << size;
    else
      EXPECT_EQ(found, Inflation::malformed) << size;
  }
  EXPECT_EQ(deflater.inflate(whole, 1000, message), Inflation::done);
  EXPECT_EQ(message, text);
}

TEST(Deflaters, GiveBackWhatTheyTookWithEveryWindow) {
  MessageDeflater deflater;
  std::mt19937 random(7);
  for (int bits = 9; bits <= 15; ++bits) {
    for (const std::size_t size : {128U, 1000U, 70'000U, 300'000U}) {
      std::string message;
      while (message.size() < size) message += std::to_string(random() % 1000) + ",";
      const auto compressed = deflater.deflate(message, bits);
      ASSERT_TRUE(compressed) << bits << " " << size;
      EXPECT_LT(compressed->size(), message.size());
      EXPECT_EQ(inflated(*compressed), message) << bits << " " << size;
    }
  }
}

TEST(Deflaters, LeaveAloneWhatGetsNoShorter) {
  MessageDeflater deflater;
  std::mt19937 random(7);
  std::string noise;
  for (int i = 0; i < 5000; ++i) noise += static_cast<char>(random());
  EXPECT_FALSE(deflater.deflate(noise, 15));
  EXPECT_FALSE(deflater.deflate("short", 15));
  const std::string repeated(5000, 'a');
  EXPECT_EQ(inflated(*deflater.deflate(repeated, 15)), repeated);
}

}  // namespace
}  // namespace green::http
