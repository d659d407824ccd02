#include "common/settings.h"

#include <gmock/gmock.h>

namespace green {
namespace {

using testing::HasSubstr;
using testing::Not;

Settings full_settings() {
  Settings settings = default_settings();
  settings.app = "site.wsgi:make(\"x\")";
  settings.bind = {"unix:/run/a b.sock", "[::1]:80", ""};
  settings.workers = 512;
  settings.timeout = Microseconds(1);
  settings.graceful_timeout = std::chrono::milliseconds(1500);
  settings.start_timeout = Microseconds(0);
  settings.keepalive = std::chrono::hours(24);
  settings.python = "/srv/ve\tnv\\bin";
  settings.chdir = "/srv/Grüße/日本/🐍";
  settings.pythonpath = {"'single'", "\"\"\"", "''''''"};
  settings.env = {{"EMPTY", ""},
                  {"LINES", "one\ntwo\r\nthree\n"},
                  {"QUOTES", R"(a "b" 'c' \d \\ \n)"},
                  {"CONTROL", std::string("\x01\x1b[31m\x7f\b\f", 9)},
                  {"odd key.with [brackets] \"quotes\"", "# no comment"},
                  {"", "no name"}};
  settings.probe = "/health?x=1#y";
  settings.preload = "on";
  settings.log_level = "debug";
  return settings;
}

TEST(SettingsToml, ComesBackAsItWas) {
  const Settings settings = full_settings();
  const auto back = settings_from_toml(settings_to_toml(settings));
  ASSERT_TRUE(back.has_value()) << back.error().message();
  EXPECT_EQ(*back, settings);
}

TEST(SettingsToml, ComesBackWhenEverythingIsEmpty) {
  const Settings settings;
  const auto back = settings_from_toml(settings_to_toml(settings));
  ASSERT_TRUE(back.has_value()) << back.error().message();
  EXPECT_EQ(*back, settings);
}

TEST(SettingsToml, ComesBackForEveryControlAndLatin1Character) {
  for (unsigned c = 1; c < 0x100; ++c) {
    Settings settings = default_settings();
    settings.app = c < 0x80 ? std::string(1, static_cast<char>(c))
                            : std::string{static_cast<char>(0xC0 | (c >> 6)),
                                          static_cast<char>(0x80 | (c & 63))};
    settings.app = settings.app + "x" + settings.app;
    const auto back = settings_from_toml(settings_to_toml(settings));
    ASSERT_TRUE(back.has_value()) << c << ": " << back.error().message();
    EXPECT_EQ(back->app, settings.app) << c;
  }
}

TEST(SettingsToml, ComesBackForDurationsOfAnyLength) {
  for (const std::int64_t count :
       {std::int64_t{-1}, std::int64_t{999}, std::int64_t{1000}, std::int64_t{1'000'001},
        std::numeric_limits<std::int64_t>::max(), std::numeric_limits<std::int64_t>::min()}) {
    Settings settings = default_settings();
    settings.timeout = Microseconds(count);
    const auto back = settings_from_toml(settings_to_toml(settings));
    ASSERT_TRUE(back.has_value()) << count << ": " << back.error().message();
    EXPECT_EQ(back->timeout.count(), count);
  }
}

TEST(SettingsToml, GivesTheDefaultForWhatIsAbsent) {
  const auto settings = settings_from_toml("");
  ASSERT_TRUE(settings.has_value());
  EXPECT_EQ(*settings, default_settings());
}

TEST(SettingsToml, NamesTheLineOfASyntaxError) {
  const auto settings = settings_from_toml("app = \"a\"\nworkers = \n");
  ASSERT_FALSE(settings.has_value());
  EXPECT_EQ(settings.error().code(), ErrorCode::configuration);
  EXPECT_THAT(settings.error().message(), HasSubstr("settings:2: TOML syntax error"));
}

TEST(SettingsToml, RefusesWhatIsNoText) {
  EXPECT_FALSE(settings_from_toml("app = \"\xff\xfe\"").has_value());
  EXPECT_FALSE(settings_from_toml(std::string_view("app = \"a\"\0", 10)).has_value());
  EXPECT_FALSE(settings_from_toml("bind = " + std::string(100'000, '[')).has_value());
}

TEST(SettingsToml, ShowsNoSecretInASyntaxError) {
  for (const char* toml : {"[env]\nKEY = tsecret\n", "env = { KEY = tsecret }\n",
                           "[env]\nA = \"x\"\nKEY = 99999999999999999999\n", "env.KEY = tsecret\n",
                           "[ env ]\nKEY = fsecret"}) {
    const auto settings = settings_from_toml(toml);
    ASSERT_FALSE(settings.has_value()) << toml;
    EXPECT_THAT(settings.error().message(), Not(HasSubstr("'ts"))) << toml;
    EXPECT_THAT(settings.error().message(), Not(HasSubstr("'fs"))) << toml;
    EXPECT_THAT(settings.error().message(), Not(HasSubstr("9999"))) << toml;
  }
}

TEST(DescribeSettings, SaysWhereEachValueCameFromAndHidesSecrets) {
  LoadedSettings loaded;
  loaded.values = full_settings();
  loaded.values.workers = 4;
  loaded.values.env = {{"SECRET_KEY", "hunter2"}};
  loaded.origins = {{"workers", "/etc/green/site.toml:3"}, {"env", "/etc/green/site.toml:7"}};
  const std::string text = describe_settings(loaded);
  EXPECT_THAT(text, HasSubstr("workers = 4  # /etc/green/site.toml:3\n"));
  EXPECT_THAT(text, HasSubstr("log_level = \"debug\"  # default\n"));
  EXPECT_THAT(text, HasSubstr("SECRET_KEY"));
  EXPECT_THAT(text, Not(HasSubstr("hunter2")));
  EXPECT_TRUE(settings_from_toml(text).has_value()) << text;
}

}  // namespace
}  // namespace green
