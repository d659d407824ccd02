// The Manager over real processes (fake_worker), a real sd-event loop and a real NOTIFY_SOCKET.
#include "daemon/manager/manager.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>

#include <algorithm>
#include <fstream>
#include <set>
#include <thread>

#include "tests/manager/notify_receiver.h"

namespace green::manager {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

struct Removed {
  JobId job;
  JobResult result;
  std::string message;
};

class RecordingObserver final : public ManagerObserver {
 public:
  void job_removed(JobId job, JobResult result, const std::string& message) override {
    jobs.push_back({job, result, message});
  }
  void job_changed(JobId, const std::string& phase) override { phases.push_back(phase); }
  void site_changed() override { ++changes; }
  void worker_added(std::uint32_t slot) override { added.push_back(slot); }
  void worker_removed(std::uint32_t slot) override { removed.push_back(slot); }

  std::vector<Removed> jobs;
  std::vector<std::string> phases;
  std::vector<std::uint32_t> added;
  std::vector<std::uint32_t> removed;
  int changes = 0;
};

/// The one child of `parent` that is none of the workers.
pid_t zygote_of(pid_t parent, const std::vector<WorkerStatus>& workers) {
  std::ifstream children("/proc/self/task/" + std::to_string(parent) + "/children");
  pid_t child = 0;
  while (children >> child)
    if (std::ranges::none_of(workers,
                             [child](const WorkerStatus& one) { return one.pid == child; }))
      return child;
  return 0;
}

class ManagerTest : public testing::Test {
 protected:
  void SetUp() override {
    sigset_t signals;
    ::sigemptyset(&signals);
    ::sigaddset(&signals, SIGCHLD);
    ::sigprocmask(SIG_BLOCK, &signals, nullptr);
    loop_.emplace(std::move(*EventLoop::create()));
    children_.emplace(std::move(*Children::create(*loop_)));
    notify_.emplace(*loop_);
    file_ = testing::TempDir() + "/green-manager-test.toml";
  }

  void write_settings(const std::string& app, const std::string& more = {},
                      const std::string& bind = "127.0.0.1:0") {
    const bool has_workers = more.find("workers = ") != std::string::npos;
    std::ofstream(file_) << "app = \"" << app << ":app\"\n"
                         << (has_workers ? "" : "workers = 2\n") << "bind = [\"" << bind << "\"]\n"
                         << "graceful_timeout = 1\n"
                         << more;
  }

  void start(const std::string& app, const std::string& more = {}) {
    write_settings(app, more);
    SettingSources sources{.file = file_};
    auto initial = load_settings(sources);
    ASSERT_TRUE(initial) << initial.error().message();
    auto made = Manager::create(*loop_, *children_, *notify_, listeners_,
                                {.site = "test",
                                 .sources = sources,
                                 .initial = *initial,
                                 .worker_program = FAKE_WORKER_PATH});
    ASSERT_TRUE(made) << made.error().message();
    manager_ = std::move(*made);
    manager_->set_observer(&observer_);
    const auto started = manager_->start();
    ASSERT_TRUE(started) << started.error().message();
  }

  /// Runs the loop until the condition holds; false after `limit`, or when the loop ends by itself.
  bool run_until(const std::function<bool()>& condition,
                 std::chrono::seconds limit = std::chrono::seconds(20)) {
    const std::uint64_t end =
        monotonic_usec() + static_cast<std::uint64_t>(limit.count()) * 1'000'000;
    while (!condition()) {
      if (monotonic_usec() > end || exit_status_) return condition();
      auto wake = loop_->add_timer(monotonic_usec() + 20'000, [] {});
      exit_status_ = loop_->turn().value();
      for (std::string& one : receiver_.take()) notified_.push_back(std::move(one));
    }
    return true;
  }

  bool serves(std::uint32_t workers) {
    return run_until([&] {
      const SiteStatus status = manager_->status();
      return status.state == SiteState::serving && status.ready_workers == workers &&
             manager_->workers().size() == workers;
    });
  }

  void TearDown() override {
    if (!manager_) return;
    manager_->stop_now();
    run_until([&] { return exit_status_.has_value(); });
    manager_.reset();
  }

  NotifyReceiver receiver_;
  std::optional<EventLoop> loop_;
  std::optional<Children> children_;
  std::optional<ServiceNotify> notify_;
  std::vector<Listener> listeners_;
  std::string file_;
  RecordingObserver observer_;
  std::unique_ptr<Manager> manager_;
  std::vector<std::string> notified_;
  std::optional<int> exit_status_;
};

TEST_F(ManagerTest, SaysReadyOnceTheFirstGenerationServes) {
  start("ok");
  ASSERT_TRUE(serves(2));
  EXPECT_THAT(notified_, Contains(HasSubstr("READY=1\nSTATUS=generation 1: 2 workers ready")));
  EXPECT_EQ(manager_->status().generation, 1U);
}

TEST_F(ManagerTest, ExitsWith78WhenTheApplicationIsMissing) {
  start("missing");
  ASSERT_TRUE(run_until([&] { return exit_status_.has_value(); }));
  EXPECT_EQ(exit_status_, 78);
  EXPECT_THAT(manager_->exit_reason(), HasSubstr("missing"));
  EXPECT_THAT(notified_, Not(Contains(HasSubstr("READY=1"))));
}

TEST_F(ManagerTest, ExitsWith1WhenTheApplicationRaisesAtImport) {
  start("broken");
  ASSERT_TRUE(run_until([&] { return exit_status_.has_value(); }));
  EXPECT_EQ(exit_status_, 1);
  EXPECT_THAT(manager_->exit_reason(), HasSubstr("ValueError"));
}

TEST_F(ManagerTest, ExitsWith1WhenTheImportEndsTheProcess) {
  start("exits");
  ASSERT_TRUE(run_until([&] { return exit_status_.has_value(); }));
  EXPECT_EQ(exit_status_, 1);
  EXPECT_THAT(manager_->exit_reason(), HasSubstr("exit status 3"));
}

TEST_F(ManagerTest, GivesUpAnImportAfterStartTimeout) {
  start("hangs", "start_timeout = 1\n");
  ASSERT_TRUE(run_until([&] { return exit_status_.has_value(); }));
  EXPECT_EQ(exit_status_, 1);
  EXPECT_THAT(manager_->exit_reason(), HasSubstr("start_timeout"));
}

TEST_F(ManagerTest, RefusesAGenerationWhoseProbeIsAnsweredWith500) {
  start("probe500", "probe = \"/health\"\n");
  ASSERT_TRUE(run_until([&] { return exit_status_.has_value(); }));
  EXPECT_THAT(manager_->exit_reason(), HasSubstr("500"));
}

TEST_F(ManagerTest, ServesWhenTheProbeIsAnswered) {
  start("ok", "probe = \"/health\"\n");
  EXPECT_TRUE(serves(2));
}

TEST_F(ManagerTest, RefusesAGenerationWhoseProbeIsAnsweredWithAnUnwantedStatus) {
  start("ok", "probe = \"/health\"\nprobe_status = [\"204\", \"3xx\"]\n");
  ASSERT_TRUE(run_until([&] { return exit_status_.has_value(); }));
  EXPECT_THAT(manager_->exit_reason(), HasSubstr("status 200 (probe_status = 204, 3xx)"));
}

TEST_F(ManagerTest, ServesWhenTheProbeIsAnsweredWithAStatusThatIsNamed) {
  start("probe500", "probe = \"/health\"\nprobe_status = [\"2xx\", \"500\"]\n");
  EXPECT_TRUE(serves(2));
}

TEST_F(ManagerTest, GivesUpAProbeThatIsNotAnsweredWithinItsTimeout) {
  start("mute", "probe = \"/health\"\nprobe_timeout = 0.3\n");
  ASSERT_TRUE(run_until([&] { return exit_status_.has_value(); }));
  EXPECT_THAT(manager_->exit_reason(),
              HasSubstr("the probe of /health was not answered within probe_timeout (0.3 s)"));
}

TEST_F(ManagerTest, RunsAReloadThatWasAskedForBeforeAnythingServed) {
  start("ok");
  const auto job = manager_->reload("a test");
  ASSERT_TRUE(job);
  ASSERT_TRUE(run_until([&] { return !observer_.jobs.empty(); }));
  EXPECT_EQ(observer_.jobs[0].job, *job);
  EXPECT_EQ(manager_->status().generation, 2U);
}

TEST_F(ManagerTest, TellsWhatAReloadIsDoing) {
  start("ok", "probe = \"/health\"\n");
  ASSERT_TRUE(serves(2));
  ASSERT_TRUE(manager_->reload("a test"));
  ASSERT_TRUE(run_until([&] { return !observer_.jobs.empty(); }));
  ASSERT_GE(observer_.phases.size(), 4U);
  EXPECT_EQ(observer_.phases.front(), "importing ok:app");
  EXPECT_THAT(observer_.phases,
              testing::IsSupersetOf(
                  {"starting workers: 0 of 2 ready", "probing /health", "switched", "draining 2"}));
  EXPECT_EQ(observer_.phases.back(), "draining 2");
}

TEST_F(ManagerTest, AnswersAReloadWithTheSettingsThatChangedAndThoseThatNeedARestart) {
  start("ok");
  ASSERT_TRUE(serves(2));
  write_settings("ok", "timeout = 11\nkeepalive = 7\n", "127.0.0.1:1");
  ASSERT_TRUE(manager_->reload("a test"));
  ASSERT_TRUE(run_until([&] { return !observer_.jobs.empty(); }));
  EXPECT_EQ(observer_.jobs[0].message,
            "generation 2 serves with 2 workers; changed: timeout, keepalive; bind changed: needs "
            "a restart");
}

TEST_F(ManagerTest, StartsAnotherGenerationAfterAFailedReloadWhenTheZygoteWasLostMeanwhile) {
  start("ok");
  ASSERT_TRUE(serves(2));
  const pid_t zygote = zygote_of(::getpid(), manager_->workers());
  write_settings("hangs", "start_timeout = 1\n");
  ASSERT_TRUE(manager_->reload("a test"));
  ASSERT_EQ(::kill(zygote, SIGKILL), 0);
  ASSERT_TRUE(run_until([&] { return !observer_.jobs.empty(); }));
  EXPECT_EQ(observer_.jobs[0].result, JobResult::failed);
  write_settings("ok");
  ASSERT_TRUE(run_until([&] { return manager_->status().generation > 2; }));
  EXPECT_TRUE(serves(2));
}

class DrainedManagerTest : public ManagerTest, public testing::WithParamInterface<std::string> {};

TEST_P(DrainedManagerTest, ServesAgainByUndrainAlsoWhereItLostItsZygote) {
  start("ok", GetParam());
  ASSERT_TRUE(serves(2));
  ASSERT_TRUE(manager_->drain("a test"));
  ASSERT_TRUE(run_until([&] { return observer_.jobs.size() == 1; }));
  write_settings("broken", GetParam());
  ASSERT_EQ(::kill(zygote_of(::getpid(), {}), SIGKILL), 0);
  ASSERT_TRUE(run_until([&] { return zygote_of(::getpid(), {}) == 0; }));
  EXPECT_EQ(manager_->status().state, SiteState::drained);
  ASSERT_TRUE(manager_->undrain("a test"));
  ASSERT_TRUE(run_until([&] { return observer_.jobs.size() == 2; }));
  EXPECT_EQ(observer_.jobs[1].result, JobResult::failed);
  EXPECT_THAT(observer_.jobs[1].message, HasSubstr("ValueError: no"));
  ASSERT_TRUE(manager_->drain("a test"));
  write_settings("ok", GetParam());
  ASSERT_TRUE(manager_->undrain("a test"));
  ASSERT_TRUE(run_until([&] { return observer_.jobs.size() == 4; }));
  EXPECT_EQ(observer_.jobs[3].message, "2 workers serve");
  EXPECT_TRUE(serves(2));
}

INSTANTIATE_TEST_SUITE_P(, DrainedManagerTest, testing::Values("", "reload = \"rolling\"\n"));

TEST_F(ManagerTest, AZygoteThatEndsAgainAndAgainIsReplacedWithAPause) {
  start("ok");
  ASSERT_TRUE(serves(2));
  const std::uint64_t begun = monotonic_usec();
  for (std::uint64_t generation = 2; generation < 20; ++generation) {
    ASSERT_EQ(::kill(zygote_of(::getpid(), manager_->workers()), SIGKILL), 0);
    ASSERT_TRUE(run_until([&] { return manager_->status().generation == generation; }));
    ASSERT_TRUE(serves(2));
  }
  EXPECT_GE(monotonic_usec() - begun, 1'000'000U);
}

TEST_F(ManagerTest, WithoutAZygoteNoWorkerIsPromised) {
  start("ok");
  ASSERT_TRUE(serves(2));
  write_settings("broken");
  ASSERT_EQ(::kill(zygote_of(::getpid(), manager_->workers()), SIGKILL), 0);
  ASSERT_TRUE(run_until([&] { return manager_->status().last_reload_result == "failed"; }));
  for (const auto& refused : {manager_->recycle(0, "a test"), manager_->scale(3, "a test")}) {
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), ErrorCode::busy);
    EXPECT_THAT(refused.error().message(), HasSubstr("zygote"));
  }
  ASSERT_TRUE(manager_->scale(1, "a test"));
  EXPECT_TRUE(serves(1));
}

TEST_F(ManagerTest, RollsFromAGenerationThatHasLostWorkersAndCanNotReplaceThem) {
  const std::string more = "workers = 4\nreload = \"rolling\"\n";
  start("ok", more);
  ASSERT_TRUE(serves(4));
  write_settings("broken", more);
  ASSERT_EQ(::kill(zygote_of(::getpid(), manager_->workers()), SIGKILL), 0);
  ASSERT_TRUE(run_until([&] { return manager_->status().last_reload_result == "failed"; }));
  const auto workers = manager_->workers();
  for (const std::size_t one : {0U, 1U}) ASSERT_EQ(::kill(workers[one].pid, SIGKILL), 0);
  ASSERT_TRUE(run_until([&] { return manager_->workers().size() == 2; }));
  write_settings("ok", more);
  ASSERT_TRUE(manager_->reload("a test"));
  EXPECT_TRUE(serves(4));
  for (const WorkerStatus& worker : manager_->workers()) EXPECT_GT(worker.generation, 1U);
}

TEST_F(ManagerTest, ReloadsWorkerByWorkerWhenRolling) {
  start("ok", "workers = 4\nreload = \"rolling\"\n");
  ASSERT_TRUE(serves(4));
  ASSERT_TRUE(manager_->reload("a test"));
  std::size_t most = 0, fewest = 4;
  ASSERT_TRUE(run_until([&] {
    most = std::max(most, manager_->workers().size());
    fewest = std::min<std::size_t>(fewest, manager_->status().ready_workers);
    return !observer_.jobs.empty();
  }));
  EXPECT_EQ(observer_.jobs[0].result, JobResult::done);
  EXPECT_THAT(observer_.phases, testing::IsSupersetOf({"replacing workers: 1 of 4",
                                                       "replacing workers: 3 of 4", "switched"}));
  EXPECT_EQ(most, 5U);
  EXPECT_GE(fewest, 3U);
  ASSERT_TRUE(serves(4));
  for (const WorkerStatus& worker : manager_->workers()) EXPECT_EQ(worker.generation, 2U);
}

TEST_F(ManagerTest, GivesTheOldGenerationItsWorkersBackWhenARollFails) {
  start("ok", "workers = 4\nreload = \"rolling\"\n");
  ASSERT_TRUE(serves(4));
  write_settings("dies", "workers = 4\nreload = \"rolling\"\n");
  ASSERT_TRUE(manager_->reload("a test"));
  ASSERT_TRUE(run_until([&] { return !observer_.jobs.empty(); }));
  EXPECT_EQ(observer_.jobs[0].result, JobResult::failed);
  EXPECT_THAT(observer_.jobs[0].message, HasSubstr("exit status 7"));
  ASSERT_TRUE(serves(4));
  for (const WorkerStatus& worker : manager_->workers()) EXPECT_EQ(worker.generation, 1U);
}

TEST_F(ManagerTest, RollsBackWhenTheLastNewWorkerEndsAsItBecomesReady) {
  start("ok", "workers = 1\nreload = \"rolling\"\n");
  ASSERT_TRUE(serves(1));
  write_settings("leaves", "workers = 1\nreload = \"rolling\"\n");
  ASSERT_TRUE(manager_->reload("a test"));
  ASSERT_TRUE(run_until([&] { return !observer_.jobs.empty(); }));
  EXPECT_EQ(observer_.jobs[0].result, JobResult::failed);
  EXPECT_THAT(observer_.jobs[0].message, HasSubstr("exit status 7"));
  ASSERT_TRUE(serves(1));
  EXPECT_EQ(manager_->status().generation, 1U);
}

TEST_F(ManagerTest, AScaleBeforeItRollsStartsNoSecondSetOfWorkers) {
  start("ok", "workers = 4\nreload = \"rolling\"\n");
  ASSERT_TRUE(serves(4));
  ASSERT_TRUE(manager_->reload("a test"));
  ASSERT_TRUE(manager_->scale(6, "a test"));
  std::size_t most = 0;
  ASSERT_TRUE(run_until([&] {
    most = std::max(most, manager_->workers().size());
    return observer_.jobs.size() == 2;
  }));
  EXPECT_EQ(most, 7U);
  EXPECT_TRUE(serves(6));
  EXPECT_EQ(manager_->status().generation, 2U);
}

TEST_F(ManagerTest, HoldsBackWorkersThatEndThemselves) {
  start("resigns", "workers = 1\n");
  ASSERT_TRUE(run_until([&] {
    return manager_->status().status_text.find("workers keep dying (it ended itself") !=
           std::string::npos;
  }));
  EXPECT_LE(observer_.added.size(), 20U);
}

TEST_F(ManagerTest, ExitsWith1WhenAWorkerEndsItselfBeforeItIsReady) {
  start("quits");
  ASSERT_TRUE(run_until([&] { return exit_status_.has_value(); }));
  EXPECT_EQ(exit_status_, 1);
  EXPECT_THAT(manager_->exit_reason(), HasSubstr("ended itself"));
}

TEST_F(ManagerTest, SaysThatItKilledAWorkerItself) {
  start("aloof");
  ASSERT_TRUE(run_until([&] { return exit_status_.has_value(); }));
  EXPECT_THAT(manager_->exit_reason(),
              HasSubstr("signal 9 (KILL), by greend: it had closed its channel to greend"));
}

TEST_F(ManagerTest, AZygoteThatForksSlowlyIsNotStuck) {
  start("slow", "workers = 16\n");
  EXPECT_TRUE(
      run_until([&] { return manager_->status().ready_workers == 16; }, std::chrono::seconds(40)));
}

TEST_F(ManagerTest, AFailedStartLeavesNoEndsOfOthersToBeTakenForThoseOfWorkers) {
  start("ok");
  ASSERT_TRUE(serves(2));
  write_settings("falters", "workers = 32\n");
  ASSERT_TRUE(manager_->reload("a test"));
  ASSERT_TRUE(run_until([&] { return !observer_.jobs.empty(); }));
  EXPECT_EQ(observer_.jobs[0].result, JobResult::failed);
  ASSERT_TRUE(serves(2));
  // While the failed generation's zygote still ends, ends are held for its workers; not after that.
  const auto is_told_of_a_stranger = [&] {
    const pid_t stranger = ::fork();
    if (stranger == 0) ::_exit(0);
    bool was_told = false;
    EXPECT_TRUE(run_until([&] { return ::kill(stranger, 0) != 0; }));
    children_->watch(stranger, [&was_told](const ChildExit&) { was_told = true; });
    EXPECT_TRUE(run_until([turns = 0]() mutable { return ++turns > 3; }));
    children_->forget(stranger);
    return was_told;
  };
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  bool was_told = true;
  while (was_told && std::chrono::steady_clock::now() < until) was_told = is_told_of_a_stranger();
  EXPECT_FALSE(was_told);
}

TEST_F(ManagerTest, ScalesWhileItRolls) {
  start("ok", "workers = 4\nreload = \"rolling\"\n");
  ASSERT_TRUE(serves(4));
  ASSERT_TRUE(manager_->reload("a test"));
  ASSERT_TRUE(run_until([&] {
    return std::ranges::find(observer_.phases, "replacing workers: 1 of 4") !=
           observer_.phases.end();
  }));
  ASSERT_TRUE(manager_->scale(6, "a test"));
  ASSERT_TRUE(run_until([&] { return observer_.jobs.size() == 2; }));
  EXPECT_TRUE(serves(6));
  EXPECT_EQ(manager_->status().generation, 2U);
}

TEST_F(ManagerTest, ReloadsIntoANewGenerationAndDrainsTheOld) {
  start("ok");
  ASSERT_TRUE(serves(2));
  const auto job = manager_->reload("a test");
  ASSERT_TRUE(job);
  ASSERT_TRUE(run_until([&] { return !observer_.jobs.empty(); }));
  EXPECT_EQ(observer_.jobs[0].job, *job);
  EXPECT_EQ(observer_.jobs[0].result, JobResult::done);
  ASSERT_TRUE(serves(2));
  for (const WorkerStatus& worker : manager_->workers()) EXPECT_EQ(worker.generation, 2U);
  EXPECT_THAT(notified_, Contains(HasSubstr("RELOADING=1\nMONOTONIC_USEC=")));
  EXPECT_EQ(manager_->status().requests_total, 20U);  // 2 × 5 of the old ones, 2 × 5 of the new
}

TEST_F(ManagerTest, RollsABrokenReloadBackAndSaysReadyAgain) {
  start("ok");
  ASSERT_TRUE(serves(2));
  write_settings("broken");
  notified_.clear();
  ASSERT_TRUE(manager_->reload("a test"));
  ASSERT_TRUE(run_until([&] { return !observer_.jobs.empty(); }));
  EXPECT_EQ(observer_.jobs[0].result, JobResult::failed);
  EXPECT_THAT(observer_.jobs[0].message, HasSubstr("ValueError: no"));
  ASSERT_TRUE(serves(2));
  EXPECT_EQ(manager_->status().generation, 1U);
  EXPECT_EQ(manager_->status().last_reload_result, "failed");
  ASSERT_TRUE(run_until([&] { return notified_.size() >= 2; }));
  EXPECT_THAT(notified_, Contains(HasSubstr("READY=1")));
}

TEST_F(ManagerTest, FailsAReloadOntoABadSettingAndServesOn) {
  start("ok");
  ASSERT_TRUE(serves(2));
  write_settings("ok", "wrokers = 3\n");
  ASSERT_TRUE(manager_->reload("a test"));
  ASSERT_TRUE(run_until([&] { return !observer_.jobs.empty(); }));
  EXPECT_EQ(observer_.jobs[0].result, JobResult::failed);
  EXPECT_THAT(observer_.jobs[0].message, HasSubstr("wrokers"));
}

TEST_F(ManagerTest, JoinsReloadsThatAreAskedWhileOneRuns) {
  start("ok");
  ASSERT_TRUE(serves(2));
  const auto running = manager_->reload("a test");
  const auto waiting = manager_->reload("a test");
  const auto joined = manager_->reload("a test");
  EXPECT_NE(*running, *waiting);
  EXPECT_EQ(*waiting, *joined);
  ASSERT_TRUE(run_until([&] { return observer_.jobs.size() == 2; }));
  EXPECT_EQ(manager_->status().generation, 3U);
}

TEST_F(ManagerTest, ScalesUpAndDownToAnAbsoluteNumber) {
  start("ok");
  ASSERT_TRUE(serves(2));
  ASSERT_TRUE(manager_->scale(8, "a test"));
  ASSERT_TRUE(run_until([&] { return observer_.jobs.size() == 1; }));
  EXPECT_EQ(manager_->workers().size(), 8U);
  ASSERT_TRUE(manager_->scale(1, "a test"));
  ASSERT_TRUE(run_until([&] { return observer_.jobs.size() == 2; }));
  EXPECT_EQ(manager_->workers().size(), 1U);
  EXPECT_FALSE(manager_->scale(0, "a test"));
  EXPECT_FALSE(manager_->scale(100'000, "a test"));
}

TEST_F(ManagerTest, AJobWhoseWorkersNeverGetReadyFailsAndTheOldOnesServeOn) {
  start("wanes");
  ASSERT_TRUE(serves(2));
  const std::vector<pid_t> old{manager_->workers()[0].pid, manager_->workers()[1].pid};
  const auto both_serve = [&] {
    const auto workers = manager_->workers();
    return std::ranges::all_of(old, [&](pid_t pid) {
      const auto found = std::ranges::find(workers, pid, &WorkerStatus::pid);
      return found != workers.end() && found->state == "serving";
    });
  };
  ASSERT_TRUE(manager_->recycle(0, "a test"));
  ASSERT_TRUE(run_until([&] { return observer_.jobs.size() == 1; }));
  EXPECT_EQ(observer_.jobs[0].result, JobResult::failed);
  EXPECT_THAT(observer_.jobs[0].message,
              StartsWith("3 workers in a row ended before they were ready, the last with exit "
                         "status 1; the old ones serve on"));
  EXPECT_TRUE(both_serve());
  // It is not tried on: nobody has asked for more than the two.
  ASSERT_TRUE(serves(2));
  EXPECT_TRUE(both_serve());

  ASSERT_TRUE(manager_->scale(3, "a test"));
  ASSERT_TRUE(run_until([&] { return observer_.jobs.size() == 2; }));
  EXPECT_EQ(observer_.jobs[1].result, JobResult::failed);
  EXPECT_THAT(observer_.jobs[1].message,
              AllOf(StartsWith("3 workers"), HasSubstr("goes on trying")));
  ASSERT_TRUE(manager_->scale(2, "a test"));
  ASSERT_TRUE(run_until([&] { return observer_.jobs.size() == 3; }));
  EXPECT_EQ(observer_.jobs[2].result, JobResult::done);
  EXPECT_TRUE(both_serve());

  ASSERT_TRUE(manager_->drain("a test"));
  ASSERT_TRUE(run_until([&] { return observer_.jobs.size() == 4; }));
  ASSERT_TRUE(manager_->undrain("a test"));
  ASSERT_TRUE(run_until([&] { return observer_.jobs.size() == 5; }));
  EXPECT_EQ(observer_.jobs[4].result, JobResult::failed);
  EXPECT_THAT(observer_.jobs[4].message, StartsWith("3 workers")) << "those before it do not count";
}

TEST_F(ManagerTest, AWorkerThatEndsWhileItIsAskedForItsRequestsIsNotWaitedFor) {
  start("ok");  // these know no such question, and end
  std::uint64_t took = UINT64_MAX;
  for (int attempt = 0; attempt < 5 && took >= 400'000; ++attempt) {
    ASSERT_TRUE(serves(2));
    bool is_answered = false;
    const std::uint64_t begun = monotonic_usec();
    manager_->ask_requests([&](const std::vector<RequestStatus>&) { is_answered = true; });
    ASSERT_TRUE(run_until([&] { return is_answered; }));
    took = monotonic_usec() - begun;
  }
  EXPECT_LT(took, 400'000U) << "that is the time for one that is silent";
}

TEST_F(ManagerTest, ADrainThatBeginsAfterAPauseIsNoLonger) {
  start("deaf");
  ASSERT_TRUE(serves(2));
  std::this_thread::sleep_for(std::chrono::seconds(6));  // greend itself is held up
  const std::uint64_t begun = monotonic_usec();
  ASSERT_TRUE(manager_->drain("a test"));
  ASSERT_TRUE(run_until([&] { return observer_.jobs.size() == 1; }));
  EXPECT_EQ(observer_.jobs[0].result, JobResult::done);
  // graceful_timeout is 1 s, and there is one for stacks.
  EXPECT_LT(monotonic_usec() - begun, 6'000'000U);
}

TEST_F(ManagerTest, KeepsAScaledNumberAcrossAReload) {
  start("ok");
  ASSERT_TRUE(serves(2));
  ASSERT_TRUE(manager_->scale(4, "a test"));
  ASSERT_TRUE(serves(4));
  ASSERT_TRUE(manager_->reload("a test"));
  ASSERT_TRUE(run_until([&] { return observer_.jobs.size() == 2; }));
  EXPECT_TRUE(serves(4));
}

TEST_F(ManagerTest, ReplacesAKilledWorkerAtOnce) {
  start("ok");
  ASSERT_TRUE(serves(2));
  const pid_t victim = manager_->workers()[0].pid;
  ::kill(victim, SIGKILL);
  ASSERT_TRUE(run_until([&] { return manager_->status().worker_deaths_total == 1; }));
  ASSERT_TRUE(serves(2));
  for (const WorkerStatus& worker : manager_->workers()) EXPECT_NE(worker.pid, victim);
}

TEST_F(ManagerTest, BacksOffAndSaysSoWhenWorkersKeepDying) {
  start("dies");
  ASSERT_TRUE(run_until([&] {
    return manager_->status().status_text.find(
               "workers keep dying (exit status 7), next start in") != std::string::npos;
  }));
  ASSERT_TRUE(run_until([&] {
    for (const std::string& one : notified_)
      if (one.find("keep dying") != std::string::npos) return true;
    return false;
  }));
}

TEST_F(ManagerTest, ReplacesAWorkerThatNoLongerBeats) {
  start("stops", "timeout = 1\n");
  ASSERT_TRUE(serves(2));
  EXPECT_TRUE(run_until([&] { return manager_->status().worker_deaths_total >= 1; }));
}

TEST_F(ManagerTest, KillsADeafWorkerAfterGracefulTimeoutAndThenExits) {
  start("deaf");
  ASSERT_TRUE(serves(2));
  manager_->stop_gracefully();
  ASSERT_TRUE(run_until([&] { return exit_status_.has_value(); }));
  EXPECT_EQ(exit_status_, 0);
  EXPECT_THAT(notified_, Contains(HasSubstr("STOPPING=1")));
  manager_.reset();
}

TEST_F(ManagerTest, RecyclesOneWorkerAtATimeAndNeverServesWithFewer) {
  // fake_worker says that it has answered 5 requests as soon as it is ready.
  start("ok", "max_requests = 5\n");
  ASSERT_TRUE(run_until([&] { return manager_->status().state == SiteState::serving; }));
  std::set<pid_t> seen;
  ASSERT_TRUE(run_until([&] {
    std::size_t draining = 0;
    std::size_t others = 0;
    for (const WorkerStatus& worker : manager_->workers()) {
      seen.insert(worker.pid);
      ++(worker.state == "draining" ? draining : others);
    }
    EXPECT_EQ(manager_->status().ready_workers, 2U);
    EXPECT_LE(draining, 1U);
    EXPECT_LE(others, 3U);
    return seen.size() >= 6;
  }));
  EXPECT_EQ(manager_->status().worker_deaths_total, 0U);
  EXPECT_EQ(manager_->status().generation, 1U);
}

TEST_F(ManagerTest, RecyclesAPartOfManyWorkersAtATime) {
  start("ok", "workers = 16\nmax_lifetime = 1\n");
  ASSERT_TRUE(run_until([&] { return manager_->status().state == SiteState::serving; }));
  std::size_t most = 0;
  std::set<pid_t> seen;
  ASSERT_TRUE(run_until([&] {
    EXPECT_EQ(manager_->status().ready_workers, 16U);
    for (const WorkerStatus& worker : manager_->workers()) seen.insert(worker.pid);
    most = std::max(most, manager_->workers().size());
    return seen.size() >= 24;
  }));
  EXPECT_LE(most, 18U);
}

TEST_F(ManagerTest, RecyclesAWorkerThatTakesTooMuchMemory) {
  start("fat", "max_rss = 1048576\n");
  ASSERT_TRUE(run_until([&] { return manager_->status().state == SiteState::serving; }));
  const pid_t first = manager_->workers()[0].pid;
  ASSERT_TRUE(run_until([&] {
    return std::ranges::none_of(manager_->workers(),
                                [&](const WorkerStatus& worker) { return worker.pid == first; });
  }));
  EXPECT_EQ(manager_->status().worker_deaths_total, 0U);
}

TEST_F(ManagerTest, ScalesWhileItRecycles) {
  start("ok", "max_requests = 5\n");
  ASSERT_TRUE(run_until([&] { return manager_->status().state == SiteState::serving; }));
  ASSERT_TRUE(manager_->scale(6, "a test"));
  ASSERT_TRUE(run_until([&] { return observer_.jobs.size() == 1; }));
  EXPECT_EQ(manager_->status().ready_workers, 6U);
  ASSERT_TRUE(manager_->scale(1, "a test"));
  ASSERT_TRUE(run_until([&] { return observer_.jobs.size() == 2; }));
  EXPECT_EQ(manager_->status().ready_workers, 1U);
}

TEST_F(ManagerTest, StartsAnotherGenerationWhenItsZygoteIsKilled) {
  start("ok");
  ASSERT_TRUE(serves(2));
  ASSERT_EQ(::kill(zygote_of(::getpid(), manager_->workers()), SIGKILL), 0);
  ASSERT_TRUE(run_until([&] { return manager_->status().generation == 2; }));
  EXPECT_TRUE(serves(2));
}

}  // namespace
}  // namespace green::manager
