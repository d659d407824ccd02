#include "daemon/manager/reexec_state.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "common/worker_channel.h"

namespace green::manager {
namespace {

using testing::HasSubstr;
using testing::UnorderedElementsAre;

SavedState full_state() {
  const SavedProcess zygote{.pid = 10, .pidfd = 11, .channel = 12, .state = "starting"};
  const SavedProcess worker{.pid = 20,
                            .pidfd = 21,
                            .channel = 22,
                            .slot = 3,
                            .state = "serving",
                            .started_realtime_usec = 1'700'000'000'000'000,
                            .started_monotonic_usec = 5,
                            .drain_deadline_usec = 6};
  return {.version = "1.2.3",
          .site = "shop",
          .sockets_from_systemd = true,
          .listeners = {{.fd = 4, .address = "unix:/run/a\"b", .unlink_path = "/run/a\"b"}},
          .scoreboard = 5,
          .slot_count = 64,
          .target_workers = 2,
          .last_generation = 9,
          .last_job = 7,
          .reexec_job = 6,
          .scale_job = SavedJob{.id = 5, .workers = 4},
          .started_realtime_usec = 1,
          .started_monotonic_usec = 4,
          .last_reload_realtime_usec = 2,
          .last_reload_result = "done",
          .past_requests = 1ULL << 60,
          .past_deaths = 3,
          .origins = {{"app", "/etc/green/shop.toml:1"}},
          .generations = {{.number = 9,
                           .serves = true,
                           .settings = "app = \"a:b\"\n",
                           .worker_count = 1,
                           .past_requests = 1,
                           .deaths = 2,
                           .zygote = zygote,
                           .workers = {worker}},
                          {.number = 8, .settings = {}, .zygote = std::nullopt, .workers = {}}}};
}

std::string why_refused(const std::string& text) {
  const auto state = read_saved_state(text);
  return state ? "not refused" : state.error().message();
}

std::string with(std::string text, const std::string& before, const std::string& after) {
  const auto at = text.find(before);
  return at == std::string::npos ? "nothing to replace" : text.replace(at, before.size(), after);
}

TEST(ReexecState, ComesBackAsItWas) {
  const auto back = read_saved_state(write_saved_state(full_state()));
  ASSERT_TRUE(back) << back.error().message();
  EXPECT_EQ(*back, full_state());
}

TEST(ReexecState, OfAnOlderGreendLacksWhatThatDidNotTell) {
  SavedState older = full_state();
  older.started_monotonic_usec = 0;
  older.origins.clear();
  std::string text = with(write_saved_state(full_state()), R"("started_monotonic_usec":4,)", "");
  text = with(text, R"("origins":{"app":"/etc/green/shop.toml:1"},)", "");
  const auto back = read_saved_state(text);
  ASSERT_TRUE(back) << back.error().message();
  EXPECT_EQ(*back, older);
}

TEST(ReexecState, ComesBackThroughAMemfd) {
  const auto memfd = make_text_memfd("state", write_saved_state(full_state()));
  ASSERT_TRUE(memfd);
  const auto back = read_saved_state(memfd->get());
  ASSERT_TRUE(back) << back.error().message();
  EXPECT_EQ(*back, full_state());
}

TEST(ReexecState, NamesEveryDescriptorThatMustStayOpen) {
  EXPECT_THAT(full_state().descriptors(), UnorderedElementsAre(4, 5, 11, 12, 21, 22));
}

TEST(ReexecState, RefusesAnotherFormatAndAnotherWorkerProtocol) {
  const std::string text = write_saved_state(full_state());
  EXPECT_THAT(why_refused(with(text, "\"format\":1,", "\"format\":2,")),
              HasSubstr("is of format 2, this greend"));
  const auto at = text.find("\"worker_protocol\":");
  ASSERT_NE(at, std::string::npos);
  EXPECT_THAT(why_refused(std::string(text).insert(at + 18, "9")), HasSubstr("speak protocol 9"));
}

TEST(ReexecState, RefusesWhatIsNoState) {
  const std::string text = write_saved_state(full_state());
  for (const std::string& bad :
       {std::string(), std::string("{}"), std::string("[1]"), text.substr(0, text.size() / 2),
        with(text, "\"scoreboard\":5", "\"scoreboard\":\"5\""),
        with(text, "\"site\"", "\"sight\"")})
    EXPECT_THAT(why_refused(bad), HasSubstr("can't be read")) << bad;
  EXPECT_THAT(why_refused(with(text, "\"serves\":true", "\"serves\":false")),
              HasSubstr("no generation that serves"));
}

}  // namespace
}  // namespace green::manager
