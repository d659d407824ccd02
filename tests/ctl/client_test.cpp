// greenctl against a fake greend on a private bus: everything between main() and the wire.
#include "ctl/client.h"

#include <gmock/gmock.h>

#include <future>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "ctl/command_line.h"
#include "tests/ctl/fake_site.h"

namespace green::ctl {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

class Greenctl : public testing::Test {
 protected:
  ExitStatus run(const std::vector<std::string>& arguments) {
    std::ostringstream out_stream, err_stream;
    const ExitStatus status =
        run_greenctl(arguments, bus_.address(), {out_stream, err_stream, false, err_is_terminal});
    out = out_stream.str();
    err = err_stream.str();
    return status;
  }
  PrivateBus bus_;
  std::string out, err;
  bool err_is_terminal = false;
};

TEST_F(Greenctl, ShowsASiteOnOnePage) {
  const auto site = FakeSite::start(bus_, "site");
  ASSERT_EQ(run({"status"}), exit_success) << err;
  EXPECT_EQ(err, "");
  EXPECT_THAT(out, StartsWith("● site — example:app\n       State: serving (generation 3) since "));
  EXPECT_THAT(out, HasSubstr("      Status: generation 3: 4 workers ready\n"
                             "     Workers: 4 of 4 ready, 1 busy\n"
                             "    Requests: 1234\n"
                             "   Listeners: unix:/run/green/site.sock\n"
                             "              127.0.0.1:8000\n"
                             "     Process: 4711 (greend 9.8.7)\n"
                             " Config file: /etc/green/site.toml\n"
                             " Last reload: done, "));
}

TEST_F(Greenctl, ShowsTheProgressOfAReloadToATerminalAlone) {
  const auto site = FakeSite::start(bus_, "site", FakeSite::passes({"importing a", "switched"}));
  ASSERT_EQ(run({"reload"}), exit_success) << err;
  EXPECT_EQ(err, "");
  err_is_terminal = true;
  ASSERT_EQ(run({"reload"}), exit_success);
  EXPECT_EQ(err, "importing a… switched…\n");
  EXPECT_EQ(out, "generation 2 serves\n");
  ASSERT_EQ(run({"reload", "--json=short"}), exit_success);
  EXPECT_EQ(err, "");
}

TEST_F(Greenctl, WaitsForAJobAcrossTheReplacementOfAGreendOnReexecAlone) {
  const auto site = FakeSite::start(bus_, "site", FakeSite::is_replaced());
  EXPECT_EQ(run({"reexec"}), exit_success) << err;
  EXPECT_EQ(out, "taken over\n");
}

TEST_F(Greenctl, ReportsAReexecThatFailed) {
  const auto site = FakeSite::start(bus_, "site", FakeSite::ends("failed", "it does not start"));
  EXPECT_EQ(run({"reexec"}), exit_failure);
  EXPECT_EQ(err,
            "greenctl: site: reexec failed: it does not start; what served before still serves\n");
}

TEST_F(Greenctl, ShowsNoControlCharactersOfADaemon) {
  const auto site = FakeSite::start(bus_, "site");
  site->application = "a\x1b[2J\nforged: line";
  ASSERT_EQ(run({"status"}), exit_success) << err;
  EXPECT_THAT(out, StartsWith("● site — a\\x1b[2J\\x0aforged: line\n"));
}

TEST_F(Greenctl, WritesAStatusAsJson) {
  const auto site = FakeSite::start(bus_, "site");
  ASSERT_EQ(run({"status", "--json"}), exit_success) << err;
  const auto pretty = nlohmann::json::parse(out);
  EXPECT_EQ(pretty["site"], "site");
  EXPECT_EQ(pretty["requests"], 1234);
  EXPECT_EQ(pretty["listeners"][1], "127.0.0.1:8000");
  EXPECT_GT(std::ranges::count(out, '\n'), 10);
  ASSERT_EQ(run({"--json=short", "status", "site"}), exit_success) << err;
  EXPECT_EQ(nlohmann::json::parse(out), pretty);
  EXPECT_EQ(std::ranges::count(out, '\n'), 1);
}

TEST_F(Greenctl, ListsWorkersInTheOrderOfTheirSlots) {
  const auto site = FakeSite::start(bus_, "site");
  ASSERT_EQ(run({"workers", "site"}), exit_success) << err;
  EXPECT_THAT(out, StartsWith("WORKER   PID  GENERATION  STATE    ACTIVITY"));
  EXPECT_THAT(out, HasSubstr("\n     0  1000           3  serving  busy "));
  EXPECT_LT(out.find("\n     2  1002"), out.find("\n    10  1010"));
  EXPECT_EQ(std::ranges::count(out, '\n'), 4);

  ASSERT_EQ(run({"workers", "--json"}), exit_success) << err;
  const auto json = nlohmann::json::parse(out);
  ASSERT_EQ(json.size(), 3U);
  EXPECT_EQ(json[2]["pid"], 1010);
  EXPECT_EQ(json[1]["busy_usec"], 0);
  EXPECT_GT(json[0]["busy_usec"], 0);
}

TEST_F(Greenctl, WaitsUntilAReloadIsDone) {
  const auto site = FakeSite::start(bus_, "site");
  EXPECT_EQ(run({"reload"}), exit_success) << err;
  EXPECT_EQ(out, "");
  EXPECT_EQ(run({"reload", "--wait", "site", "--json=short"}), exit_success) << err;
  EXPECT_EQ(out, "{\"site\":\"site\",\"job\":8,\"result\":\"done\",\"message\":\"\"}\n");
}

TEST_F(Greenctl, PrintsTheTracebackOfAFailedReloadAndFails) {
  const std::string traceback =
      "Traceback (most recent call last):\n  File \"app.py\", line 1\nSyntaxError: \x1b[31m\n";
  const auto site = FakeSite::start(bus_, "site", FakeSite::ends("failed", traceback));
  EXPECT_EQ(run({"reload", "site"}), exit_failure);
  EXPECT_EQ(out, "");
  EXPECT_EQ(err,
            "greenctl: Traceback (most recent call last):\n  File \"app.py\", line 1\nSyntaxError: "
            "\\x1b[31m\n"
            "site: reload failed; what served before still serves\n");
}

TEST_F(Greenctl, SaysInOneLineWhatAJobSaysInOne) {
  const auto site = FakeSite::start(bus_, "site", FakeSite::ends("cancelled", "stopping"));
  EXPECT_EQ(run({"scale", "2", "--json"}), exit_failure);
  EXPECT_EQ(nlohmann::json::parse(out)["result"], "cancelled");
  EXPECT_EQ(err, "greenctl: site: scale was cancelled: stopping\n");
}

TEST_F(Greenctl, SaysInOneSentenceWhyAReloadFailed) {
  const auto site = FakeSite::start(bus_, "site", FakeSite::ends("failed", "site.toml:2: bad"));
  EXPECT_EQ(run({"reload"}), exit_failure);
  EXPECT_EQ(err,
            "greenctl: site: reload failed: site.toml:2: bad; what served before still serves\n");
}

TEST_F(Greenctl, DoesNotWaitLongerForADaemonThatIsStuck) {
  std::promise<void> end;
  auto until_end = end.get_future().share();
  const auto site =
      FakeSite::start(bus_, "site", [until_end](FakeSite&, std::uint32_t) { until_end.wait(); });
  EXPECT_EQ(run({"reload", "--timeout=50ms"}), exit_failure);
  EXPECT_THAT(err, StartsWith("greenctl: site: no reply to reload in time;"));
  end.set_value();
}

TEST_F(Greenctl, ScalesTheSiteItNamesOrTheOnlyOne) {
  const auto site = FakeSite::start(bus_, "site");
  EXPECT_EQ(run({"scale", "8"}), exit_success) << err;
  EXPECT_EQ(site->scaled_to, 8U);
  EXPECT_EQ(run({"scale", "site", "2"}), exit_success) << err;
  EXPECT_EQ(site->scaled_to, 2U);
  const auto other = FakeSite::start(bus_, "other");
  EXPECT_EQ(run({"scale", "3"}), exit_no_site);
  EXPECT_EQ(err, "greenctl: several sites are running, name one of them: other, site\n");
  EXPECT_EQ(run({"scale", "other", "3"}), exit_success) << err;
  EXPECT_EQ(other->scaled_to, 3U);
  EXPECT_EQ(site->scaled_to, 2U);
}

TEST_F(Greenctl, DoesNotWaitWhenToldNotTo) {
  const auto site = FakeSite::start(bus_, "site", [](FakeSite&, std::uint32_t) {});
  EXPECT_EQ(run({"reload", "--no-block", "--json=short"}), exit_success) << err;
  EXPECT_EQ(out, "{\"site\":\"site\",\"job\":7,\"result\":\"started\",\"message\":\"\"}\n");
}

TEST_F(Greenctl, GivesUpWaitingAfterItsTimeout) {
  const auto site = FakeSite::start(bus_, "site", [](FakeSite&, std::uint32_t) {});
  EXPECT_EQ(run({"reload", "--timeout=50ms"}), exit_failure);
  EXPECT_EQ(
      err, "greenctl: site: reload has not ended in time and goes on; see: greenctl status site\n");
}

TEST_F(Greenctl, NoticesThatTheDaemonGoesAwayWhileItWaits) {
  const auto site = FakeSite::start(bus_, "site", [](FakeSite& fake, std::uint32_t) {
    fake.connection().releaseName(bus_name_of_site("site"));
  });
  EXPECT_EQ(run({"reload"}), exit_failure);
  EXPECT_EQ(err, "greenctl: site stopped during reload; see: journalctl -u green@site.service\n");
}

TEST_F(Greenctl, SaysAtOnceThatStacksDoNotComeByHost) {
  EXPECT_EQ(run({"--host=away", "backtrace", "site"}), exit_usage);
  EXPECT_THAT(err, HasSubstr("ssh away greenctl backtrace"));
}

TEST_F(Greenctl, NoticesThatTheBusGoesAwayWhileItWaits) {
  std::promise<void> started;
  const auto site =
      FakeSite::start(bus_, "site", [&started](FakeSite&, std::uint32_t) { started.set_value(); });
  std::jthread stopper([&] {
    started.get_future().wait();
    bus_.stop();
  });
  EXPECT_EQ(run({"reload"}), exit_failure);
  EXPECT_THAT(err, HasSubstr("bus closed the connection; see whether it runs and try again"));
}

TEST_F(Greenctl, TellsWhatToDoAboutASiteThatDoesNotRun) {
  EXPECT_EQ(run({"status", "site"}), exit_not_running);
  EXPECT_EQ(err, "greenctl: site is not running; start it with: greend --bus=" + bus_.address() +
                     " --site site\n");
  EXPECT_EQ(run({"reload"}), exit_not_running);
  EXPECT_THAT(err, StartsWith("greenctl: no site is running on the "));
}

TEST_F(Greenctl, ReportsADenialAndTheDaemonsOwnErrors) {
  std::string name = "org.freedesktop.DBus.Error.AccessDenied";
  const auto site = FakeSite::start(
      bus_, "site", [&name](FakeSite&, std::uint32_t) { throw sdbus::Error(name, "not for you"); });
  EXPECT_EQ(run({"reload"}), exit_failure);
  EXPECT_EQ(err, "greenctl: site: reload was denied (not for you); try it as root\n");
  name = "org.greend1.Error.Stopping";
  EXPECT_EQ(run({"reload"}), exit_failure);
  EXPECT_EQ(err, "greenctl: site: reload failed: not for you; see: greenctl status site\n");
  name = "org.freedesktop.DBus.Error.NoReply";
  EXPECT_EQ(run({"reload"}), exit_failure);
  EXPECT_EQ(
      err,
      "greenctl: site: no reply to reload in time; see: systemctl status green@site.service\n");
}

TEST_F(Greenctl, SaysThatAStrangerUnderTheNameSpeaksAnotherProtocol) {
  auto stranger = sdbus::createSessionBusConnectionWithAddress(bus_.address());
  stranger->requestName(bus_name_of_site("site"));
  stranger->enterEventLoopAsync();
  for (const char* verb : {"status", "workers", "reload"}) {
    EXPECT_EQ(run({verb}), exit_failure) << verb;
    EXPECT_THAT(err, HasSubstr("does not speak this greenctl's protocol")) << verb;
  }
  stranger->leaveEventLoop();
}

TEST_F(Greenctl, FindsASiteWhoseNameTheBusEscapes) {
  const auto site = FakeSite::start(bus_, "www.example.org");
  EXPECT_EQ(run({"status", "www.example.org"}), exit_success) << err;
  EXPECT_EQ(run({"status"}), exit_success) << err;
  EXPECT_THAT(out, HasSubstr("www.example.org"));
}

}  // namespace
}  // namespace green::ctl
