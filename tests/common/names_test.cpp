#include "common/names.h"

#include <gtest/gtest.h>

namespace green {
namespace {

TEST(SiteName, IsWhatAUnitInstanceAndAFileNameCanBe) {
  for (const char* good : {"site", "a", "7", "my-site", "www.example.org", "a_b"})
    EXPECT_TRUE(is_valid_site_name(good)) << good;
  EXPECT_TRUE(is_valid_site_name(std::string(64, 'x')));
  for (const char* bad : {"", ".", "..", ".hidden", "-x", "a/b", "a b", "a@b", "größe", "a\nb"})
    EXPECT_FALSE(is_valid_site_name(bad)) << bad;
  EXPECT_FALSE(is_valid_site_name(std::string(65, 'x')));
}

TEST(BusName, EscapesWhatABusNameElementCannotHold) {
  EXPECT_EQ(bus_name_of_site("site"), "org.greend1.site");
  EXPECT_EQ(bus_name_of_site("my-site"), "org.greend1.my-site");
  EXPECT_EQ(bus_name_of_site("www.example.org"), "org.greend1.www_2eexample_2eorg");
  EXPECT_EQ(bus_name_of_site("7up"), "org.greend1._37up");
  EXPECT_EQ(bus_name_of_site("a_b"), "org.greend1.a_5fb");
}

TEST(BusName, LeadsBackToItsSite) {
  for (const char* site : {"site", "my-site", "www.example.org", "7up", "a_b", "_", "A.B-c_9"})
    EXPECT_EQ(site_of_bus_name(bus_name_of_site(site)), site);
}

TEST(BusName, OfAnotherIsNoSite) {
  for (const char* name : {"org.freedesktop.DBus", "org.greend1.", "org.greend1", "org.greend1.a_2",
                           "org.greend1.a_zz", "org.greend1.a_2fb", "org.greend1.a.b/c",
                           "org.greend1._2dx", ":1.5", ""})
    EXPECT_EQ(site_of_bus_name(name), "") << name;
}

}  // namespace
}  // namespace green
