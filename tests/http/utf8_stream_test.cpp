// Utf8Stream and is_utf8: each text whole, byte by byte, and cut in two everywhere.
#include "daemon/http/utf8_stream.h"

#include <gtest/gtest.h>

#include <array>
#include <string>
#include <string_view>

namespace green::http {
namespace {

using namespace std::string_view_literals;

constexpr std::array valid{
    ""sv,
    "plain"sv,
    "\0"sv,
    "\x7f"sv,
    "\xc2\x80"sv,
    "\xdf\xbf"sv,
    "\xe0\xa0\x80"sv,
    "\xed\x9f\xbf"sv,
    "\xee\x80\x80"sv,
    "\xef\xbf\xbf"sv,
    "\xf0\x90\x80\x80"sv,
    "\xf4\x8f\xbf\xbf"sv,
    "\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5"sv,
    "a\xc3\xa9z\xe2\x82\xac\xf0\x9f\x98\x80 and more than sixty-four bytes of it, so that a block "
    "of any "
    "vector is full \xf0\x9f\x98\x80"sv,
};

/// None of them is the beginning of a text.
constexpr std::array invalid{
    "\x80"sv,  // a continuation by itself
    "\xbf"sv,
    "\xc0\xaf"sv,  // longer than needed
    "\xc1\xbf"sv,
    "\xe0\x80\xaf"sv,
    "\xe0\x9f\xbf"sv,
    "\xf0\x80\x80\xaf"sv,
    "\xf0\x8f\xbf\xbf"sv,
    "\xed\xa0\x80"sv,  // surrogates
    "\xed\xbf\xbf"sv,
    "\xed\xa0\xbd\xed\xb8\x80"sv,
    "\xf4\x90\x80\x80"sv,  // past U+10FFFF
    "\xf5\x80\x80\x80"sv,
    "\xf8\x88\x80\x80\x80"sv,  // five bytes
    "\xfc\x84\x80\x80\x80\x80"sv,
    "\xfe"sv,
    "\xff"sv,
    "\xc3("sv,  // what should go on does not
    "\xe2\x82("sv,
    "\xe2(\xa1"sv,
    "\xf0\x9f\x98("sv,
    "\xf0(\x8c\xbc"sv,
    "fine until \xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80 here"sv,
};

/// Whether the text, fed in these pieces, is accepted to its end.
bool accepts(std::string_view text, std::size_t first, std::size_t step) {
  Utf8Stream stream;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t size = at == 0 && first > 0 ? first : step;
    if (!stream.feed(text.substr(at, size))) return false;
    at += size;
  }
  return stream.is_complete();
}

TEST(Utf8, AcceptsWhatIsWellFormedInAnyPieces) {
  for (const auto text : valid) {
    EXPECT_TRUE(is_utf8(text)) << text;
    EXPECT_TRUE(accepts(text, 0, 1)) << text;
    for (std::size_t cut = 1; cut <= text.size(); ++cut) {
      EXPECT_TRUE(accepts(text, cut, text.size())) << text << " cut at " << cut;
    }
  }
}

TEST(Utf8, RefusesWhatIsNotInAnyPieces) {
  for (const auto text : invalid) {
    EXPECT_FALSE(is_utf8(text)) << text;
    EXPECT_FALSE(accepts(text, 0, 1)) << text;
    for (std::size_t cut = 1; cut <= text.size(); ++cut) {
      EXPECT_FALSE(accepts(text, cut, text.size())) << text << " cut at " << cut;
    }
  }
}

TEST(Utf8, RefusesAtTheFirstByteThatCannotFollow) {
  struct Case {
    std::string_view text;
    std::size_t wrong;  ///< byte
  };
  for (const auto& [text, wrong] :
       std::array{Case{"ab\x80", 2}, Case{"\xed\xa0", 1}, Case{"\xf4\x90", 1}, Case{"\xe0\x80", 1},
                  Case{"\xf0\x8f", 1}, Case{"\xf5", 0}, Case{"\xc3\xc3", 1},
                  Case{"\xf0\x9f\x98\x41", 3}}) {
    Utf8Stream stream;
    for (std::size_t i = 0; i < wrong; ++i) EXPECT_TRUE(stream.feed(text.substr(i, 1))) << text;
    EXPECT_FALSE(stream.feed(text.substr(wrong, 1))) << text;
  }
}

TEST(Utf8, KnowsWhereATextMayNotEnd) {
  for (const auto text : {"\xc3"sv, "\xe2\x82"sv, "\xf0\x9f\x98"sv, "whole\xf0\x9f"sv}) {
    Utf8Stream stream;
    EXPECT_TRUE(stream.feed(text));
    EXPECT_FALSE(stream.is_complete()) << text;
    EXPECT_FALSE(is_utf8(text));
    stream.clear();
    EXPECT_TRUE(stream.is_complete());
    EXPECT_TRUE(stream.feed("anew"));
  }
}

TEST(Utf8, AgreesWithEveryCodePointCutEverywhere) {
  for (unsigned point = 0x80; point <= 0x10ffff; point += point < 0x3000 ? 1 : 61) {
    if (point >= 0xd800 && point <= 0xdfff) continue;
    std::string text;
    const auto put = [&text](unsigned byte) { text += static_cast<char>(byte); };
    if (point < 0x800) {
      put(0xc0 | point >> 6);
    } else if (point < 0x10000) {
      put(0xe0 | point >> 12);
      put(0x80 | (point >> 6 & 0x3f));
    } else {
      put(0xf0 | point >> 18);
      put(0x80 | (point >> 12 & 0x3f));
      put(0x80 | (point >> 6 & 0x3f));
    }
    put(0x80 | (point & 0x3f));
    ASSERT_TRUE(accepts(text, 0, 1)) << point;
    ASSERT_TRUE(accepts(text, 1, text.size())) << point;
  }
}

}  // namespace
}  // namespace green::http
