#include "daemon/http/date_line.h"

#include <gtest/gtest.h>

namespace green::http {
namespace {

TEST(DateLine, IsAnImfFixdateInEveryLocale) {
  DateLine date;
  EXPECT_EQ(date.get_at(784111777), "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n");
}

TEST(DateLine, FollowsTheClock) {
  DateLine date;
  date.get_at(0);
  EXPECT_EQ(date.get().substr(0, 6), "Date: ");
  EXPECT_EQ(date.get().find("1970"), std::string_view::npos);
}

}  // namespace
}  // namespace green::http
