#include "common/access_format.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace green {
namespace {

using testing::HasSubstr;

TEST(AccessFormats, KnowNamesAndAtoms) {
  EXPECT_TRUE(parse_access_format("json")->is_json);
  EXPECT_EQ(parse_access_format("common")->pieces.back().atom, 'b');
  const auto format = parse_access_format("a%%b %(s)s %({X-Thing}i)s%({HTTP_X}e)s");
  ASSERT_TRUE(format);
  const std::vector<AccessPiece> expected{{.text = "a%b "},
                                          {.atom = 's'},
                                          {.text = " "},
                                          {.atom = 'i', .text = "x-thing"},
                                          {.atom = 'e', .text = "HTTP_X"}};
  EXPECT_EQ(format->pieces, expected);
  EXPECT_FALSE(format->names_reply_headers());
  EXPECT_TRUE(parse_access_format("%({server}o)s")->names_reply_headers());
}

TEST(AccessFormats, SayWhatIsWrong) {
  for (const auto& [text, complaint] :
       std::vector<std::pair<std::string, std::string>>{{"fancy", "\"combined\""},
                                                        {"%(x)s", "no atom"},
                                                        {"%(h", "ends in"},
                                                        {"%({}i)s", "without a name"},
                                                        {"%({a}z)s", "no atom"},
                                                        {"%({PATH}e)s", "variables of a request"},
                                                        {"%(h)s\n%(s)s", "one line"},
                                                        {"%d %(h)s", "percent sign"}}) {
    const auto format = parse_access_format(text);
    ASSERT_FALSE(format) << text;
    EXPECT_THAT(format.error().message(), HasSubstr(complaint)) << text;
  }
}

}  // namespace
}  // namespace green
