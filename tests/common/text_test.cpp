#include "common/text.h"

#include <gtest/gtest.h>

namespace green {
namespace {

TEST(IsValidUtf8, AcceptsEveryLengthOfCharacter) {
  for (const char* good :
       {"", "a", "\x7f", "\xc2\x80", "ß", "日", "\xef\xbf\xbf", "🐍", "\xf4\x8f\xbf\xbf"})
    EXPECT_TRUE(is_valid_utf8(good)) << good;
}

TEST(IsValidUtf8, RefusesWhatIsOverlongCutShortOrNoCharacter) {
  for (const char* bad :
       {"\x80", "\xc0\x80", "\xc1\xbf", "\xe0\x80\x80", "\xed\xa0\x80", "\xf0\x80\x80\x80",
        "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "a\xc3", "\xe6\x97", "\xc3("})
    EXPECT_FALSE(is_valid_utf8(bad));
  EXPECT_FALSE(is_valid_utf8(std::string_view("a\0b", 3)));
}

TEST(Printable, EscapesControlCharactersAndShortens) {
  EXPECT_EQ(printable("plain ß"), "plain ß");
  EXPECT_EQ(printable("a\nb\x1b[0m\x7f"), "a\\x0ab\\x1b[0m\\x7f");
  EXPECT_EQ(printable("abcdef", 3), "abc…");
  EXPECT_EQ(printable("\xc2\x9b"
                      "31m\xc2\xa0"),
            "\\x9b31m\xc2\xa0");
  EXPECT_EQ(printable("\x9b"
                      "31m\xff"),
            "\\x9b31m\xff");
  EXPECT_EQ(printable("\xe2\x82\x9b"), "\xe2\x82\x9b");  // U+209B, a letter
}

TEST(Printable, CutsNoCharacterInHalf) { EXPECT_EQ(printable("aßb", 2), "a…"); }

TEST(EditDistance, CountsOneForEachSlip) {
  EXPECT_EQ(edit_distance("workers", "workers"), 0U);
  EXPECT_EQ(edit_distance("wrokers", "workers"), 1U);
  EXPECT_EQ(edit_distance("worker", "workers"), 1U);
  EXPECT_EQ(edit_distance("", "abc"), 3U);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3U);
}

}  // namespace
}  // namespace green
