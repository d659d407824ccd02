#include "common/settings.h"

#include <gmock/gmock.h>

#include <set>

namespace green {
namespace {

TEST(SettingsTable, NamesEachSettingOnceInItsTomlSpelling) {
  std::set<std::string_view> names;
  for (const Setting& setting : settings_table()) {
    EXPECT_TRUE(names.insert(setting.name).second) << setting.name;
    EXPECT_EQ(setting.name.find_first_not_of("abcdefghijklmnopqrstuvwxyz_"), std::string_view::npos)
        << setting.name;
    EXPECT_EQ(find_setting(setting.name), &setting);
  }
  EXPECT_EQ(find_setting("no_such_setting"), nullptr);
}

TEST(SettingsTable, HasOneLineOfHelpForEach) {
  for (const Setting& setting : settings_table()) {
    EXPECT_FALSE(setting.help.empty()) << setting.name;
    EXPECT_FALSE(setting.help.ends_with('.')) << setting.name;
    EXPECT_EQ(setting.help.find('\n'), std::string_view::npos) << setting.name;
  }
}

TEST(SettingsTable, HasTheDefaultsOfTheManual) {
  const Settings settings = default_settings();
  EXPECT_EQ(settings.bind, StringList{"127.0.0.1:8000"});
  EXPECT_EQ(settings.app, "");
  EXPECT_GE(settings.workers, 2);
  EXPECT_LE(settings.workers, 512);
  EXPECT_EQ(settings.timeout, std::chrono::seconds(30));
  EXPECT_EQ(settings.graceful_timeout, std::chrono::seconds(30));
  EXPECT_EQ(settings.start_timeout, std::chrono::minutes(10));
  EXPECT_EQ(settings.keepalive, std::chrono::seconds(5));
  EXPECT_EQ(settings.pythonpath, StringList{});
  EXPECT_EQ(settings.env, StringMap{});
  EXPECT_EQ(settings.probe, "");
  EXPECT_EQ(settings.probe_status, (StringList{"2xx", "3xx", "4xx"}));
  EXPECT_EQ(settings.probe_timeout, std::chrono::seconds(30));
  EXPECT_EQ(settings.probe_host, "localhost");
  EXPECT_EQ(settings.reload, "whole");
  EXPECT_EQ(settings.preload, "auto");
  EXPECT_EQ(settings.log_level, "info");
}

TEST(SettingsTable, SaysWhichChangedSettingsNeedARestart) {
  const Settings before = default_settings();
  Settings after = before;
  after.bind = {"127.0.0.1:1"};
  after.timeout = std::chrono::seconds(7);
  after.env = {{"A", "b"}};
  EXPECT_EQ(changed_settings(before, after, SettingScope::reload), (StringList{"timeout", "env"}));
  EXPECT_EQ(changed_settings(before, after, SettingScope::restart), StringList{"bind"});
  keep_until_restart(before, after);
  EXPECT_EQ(after.bind, before.bind);
  EXPECT_EQ(after.timeout, std::chrono::seconds(7));
}

TEST(SettingsTable, HasSafeDefaultsForWhatClientsMayTake) {
  const Settings settings = default_settings();
  EXPECT_EQ(settings.worker_connections, 16384);
  EXPECT_EQ(settings.limit_request_line, 8190);
  EXPECT_EQ(settings.limit_request_fields, 100);
  EXPECT_EQ(settings.limit_request_field_size, 8190);
  EXPECT_EQ(settings.limit_request_head, 32 << 10);
  EXPECT_EQ(settings.limit_request_body, 1 << 30);
  EXPECT_EQ(settings.request_head_timeout, std::chrono::seconds(10));
  EXPECT_EQ(settings.request_body_timeout, std::chrono::seconds(30));
  EXPECT_EQ(settings.send_timeout, std::chrono::minutes(1));
  EXPECT_EQ(settings.keepalive, std::chrono::seconds(5));
  EXPECT_EQ(settings.body_buffer_size, 64 << 10);
  EXPECT_EQ(settings.reply_buffer_size, 256 << 10);
  EXPECT_EQ(settings.spool_directory, "/var/tmp");
  EXPECT_EQ(settings.forwarded_allow_ips, (StringList{"127.0.0.1", "::1", "unix:"}));
  EXPECT_EQ(settings.proxy_protocol, "off");
  EXPECT_EQ(settings.header_map, "drop");
  EXPECT_EQ(settings.websocket_max_message_size, 16 << 20);
  EXPECT_EQ(settings.websocket_ping_interval, std::chrono::seconds(20));
  EXPECT_EQ(settings.websocket_ping_timeout, std::chrono::seconds(20));
}

TEST(SettingsTable, GivesEachSettingAVariableAndAnOption) {
  EXPECT_EQ(setting_variable(*find_setting("graceful_timeout")), "GREEN_GRACEFUL_TIMEOUT");
  EXPECT_EQ(setting_option(*find_setting("graceful_timeout")), "--graceful-timeout");
}

TEST(NearestSetting, FindsSlipsOfTheFinger) {
  EXPECT_EQ(nearest_setting("wrokers"), "workers");
  EXPECT_EQ(nearest_setting("worker"), "workers");
  EXPECT_EQ(nearest_setting("time_out"), "timeout");
  EXPECT_EQ(nearest_setting("graceful-timeout"), "graceful_timeout");
  EXPECT_EQ(nearest_setting("loglevel"), "log_level");
}

TEST(NearestSetting, CompletesABeginning) {
  EXPECT_EQ(nearest_setting("grace"), "graceful_timeout");
  EXPECT_EQ(nearest_setting("py"), "python");
}

TEST(NearestSetting, GuessesNothingForAnotherWord) {
  EXPECT_EQ(nearest_setting("bus"), "");
  EXPECT_EQ(nearest_setting("port"), "");
  EXPECT_EQ(nearest_setting("a"), "");
  EXPECT_EQ(nearest_setting(""), "");
  EXPECT_EQ(nearest_setting("app_service_host"), "");
}

}  // namespace
}  // namespace green
