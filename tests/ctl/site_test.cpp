#include "ctl/site.h"

#include <gmock/gmock.h>

namespace green::ctl {
namespace {

using testing::HasSubstr;

Failure failure_of(std::string_view requested, const std::vector<std::string>& running,
                   std::string_view bus = "system") {
  const auto chosen = choose_site(requested, running, bus);
  return chosen ? Failure{exit_success, *chosen} : chosen.error();
}

TEST(ChooseSite, TakesTheOneThatRunsWhenNoneIsNamed) {
  EXPECT_EQ(choose_site("", {"shop"}, "system").value(), "shop");
}

TEST(ChooseSite, TakesTheNamedOneOfSeveral) {
  EXPECT_EQ(choose_site("b", {"a", "b", "c"}, "system").value(), "b");
}

TEST(ChooseSite, ListsSeveralWhenNoneIsNamed) {
  const Failure failure = failure_of("", {"blog", "shop"});
  EXPECT_EQ(failure.status, exit_no_site);
  EXPECT_EQ(failure.message, "several sites are running, name one of them: blog, shop");
}

TEST(ChooseSite, SaysHowToStartOneWhenNoneRuns) {
  const Failure failure = failure_of("", {});
  EXPECT_EQ(failure.status, exit_not_running);
  EXPECT_EQ(
      failure.message,
      "no site is running on the system bus; start it with: systemctl start green@SITE.socket");
}

TEST(ChooseSite, SaysHowToStartTheNamedOne) {
  const Failure failure = failure_of("shop", {"blog"});
  EXPECT_EQ(failure.status, exit_not_running);
  EXPECT_EQ(failure.message,
            "shop is not running; start it with: systemctl start green@shop.socket");
  EXPECT_THAT(failure_of("shop", {}, "user").message, HasSubstr("greend --bus=user --site shop"));
}

TEST(ChooseSite, GuessesAMistypedName) {
  EXPECT_EQ(failure_of("sohp", {"blog", "shop"}).message,
            "sohp is not running; did you mean shop?");
}

TEST(ChooseSite, RefusesWhatCannotBeAName) {
  const Failure failure = failure_of("../etc\n", {"shop"});
  EXPECT_EQ(failure.status, exit_no_site);
  EXPECT_THAT(failure.message, HasSubstr("\"../etc\\x0a\" cannot be a site's name"));
}

}  // namespace
}  // namespace green::ctl
