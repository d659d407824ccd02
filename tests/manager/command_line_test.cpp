#include "daemon/manager/command_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace green::manager {
namespace {

using testing::HasSubstr;

std::variant<CommandLine, CommandLineExit> parse(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "greend");
  return parse_command_line(static_cast<int>(arguments.size()), arguments.data());
}

TEST(CommandLine, ReadsASitesFileByItsName) {
  const auto parsed = std::get<CommandLine>(parse({"--site", "shop"}));
  EXPECT_EQ(parsed.site, "shop");
  EXPECT_EQ(parsed.sources.file, "/etc/green/shop.toml");
}

TEST(CommandLine, TakesRepeatedBindsAndTheApplication) {
  const auto parsed =
      std::get<CommandLine>(parse({"--bind", "127.0.0.1:1", "--bind", "unix:/a", "shop.wsgi:app"}));
  EXPECT_EQ(parsed.sources.command_line.at("bind"), (StringList{"127.0.0.1:1", "unix:/a"}));
  EXPECT_EQ(parsed.sources.command_line.at("app"), StringList{"shop.wsgi:app"});
  EXPECT_EQ(parsed.site, "shop.wsgi");
}

TEST(CommandLine, MakesAValidSiteNameOfAnyFile) {
  EXPECT_EQ(std::get<CommandLine>(parse({"--config", "/x/..my site.toml"})).site, "my-site");
}

TEST(CommandLine, SuggestsTheOptionThatWasMeant) {
  const auto exit = std::get<CommandLineExit>(parse({"--wokers", "3", "a:b"}));
  EXPECT_EQ(exit.status, 78);
  EXPECT_THAT(exit.error, HasSubstr("did you mean --workers?"));
}

TEST(CommandLine, RefusesASiteNameThatCouldLeaveTheFolder) {
  EXPECT_EQ(std::get<CommandLineExit>(parse({"--site", "../etc/passwd"})).status, 78);
}

TEST(CommandLine, RefusesSiteAndConfigTogether) {
  EXPECT_EQ(std::get<CommandLineExit>(parse({"--site", "a", "--config", "b"})).status, 78);
}

TEST(CommandLine, ListsEverySettingInItsHelp) {
  const auto exit = std::get<CommandLineExit>(parse({"--help"}));
  EXPECT_EQ(exit.status, 0);
  for (const Setting& setting : settings_table()) {
    if (setting.name == "app") continue;
    std::string option = "--" + std::string(setting.name);
    std::ranges::replace(option, '_', '-');
    EXPECT_THAT(exit.output, HasSubstr(option));
  }
}

}  // namespace
}  // namespace green::manager
