#include "ctl/output.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

namespace green::ctl {
namespace {

TEST(FormatTable, AlignsTextLeftAndNumbersRight) {
  EXPECT_EQ(format_table({{"NAME"}, {"PID", true}, {"STATE"}},
                         {{"a", "1", "ready"}, {"größer", "12345", ""}}),
            "NAME      PID  STATE\n"
            "a           1  ready\n"
            "größer  12345\n");
}

TEST(FormatTable, ShowsOnlyTitlesWhenThereIsNothing) {
  EXPECT_EQ(format_table({{"A"}, {"B", true}}, {}), "A  B\n");
}

TEST(FormatSpan, UsesTwoUnitsAtMost) {
  using namespace std::chrono_literals;
  EXPECT_EQ(format_span(0us), "0 ms");
  EXPECT_EQ(format_span(30ms), "30 ms");
  EXPECT_EQ(format_span(1500ms), "1.5 s");
  EXPECT_EQ(format_span(2000ms), "2 s");
  EXPECT_EQ(format_span(12900ms), "12 s");
  EXPECT_EQ(format_span(67s), "1 min 7 s");
  EXPECT_EQ(format_span(120s), "2 min");
  EXPECT_EQ(format_span(2h + 5min + 9s), "2 h 5 min");
  EXPECT_EQ(format_span(76h), "3 d 4 h");
}

TEST(SpanBetween, IsNothingWhenTheClockWasSetBack) {
  EXPECT_EQ(span_between(5, 12).count(), 7);
  EXPECT_EQ(span_between(12, 5).count(), 0);
}

TEST(FormatTimestamp, ReadsAsSystemctlWritesIt) {
  ::setenv("TZ", "UTC", 1);
  EXPECT_EQ(format_timestamp(1'000'000'000'000'000), "Sun 2001-09-09 01:46:40 UTC");
  ::unsetenv("TZ");
}

TEST(Harmless, KeepsLinesAndTabsButNoOtherControlCharacter) {
  EXPECT_EQ(harmless("Traceback:\n\tFile \"a\"\n"), "Traceback:\n\tFile \"a\"\n");
  EXPECT_EQ(harmless("\x1b]0;owned\x07\r\n"), "\\x1b]0;owned\\x07\\x0d\n");
  EXPECT_EQ(harmless(std::string(5000, 'x')), std::string(5000, 'x'));
  EXPECT_EQ(harmless(""), "");
}

TEST(FormatJson, EscapesAndReplacesWhatIsNoUtf8) {
  const nlohmann::ordered_json json = {{"b", "\"\n\x1b"}, {"a", "\xff"}};
  EXPECT_EQ(format_json(json, JsonStyle::compact),
            "{\"b\":\"\\\"\\n\\u001b\",\"a\":\"\xef\xbf\xbd\"}\n");
  EXPECT_EQ(format_json({{"a", 1}}, JsonStyle::pretty), "{\n  \"a\": 1\n}\n");
}

TEST(Paint, AddsColourOnlyWhenEnabled) {
  EXPECT_EQ(paint("x", Colour::green, false), "x");
  EXPECT_EQ(paint("x", Colour::green, true), "\x1b[32mx\x1b[0m");
  EXPECT_EQ(paint("x", Colour::none, true), "x");
}

TEST(WantsColour, NotOnAPipe) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  EXPECT_FALSE(wants_colour(ends[1]));
  ::close(ends[0]);
  ::close(ends[1]);
}

}  // namespace
}  // namespace green::ctl
