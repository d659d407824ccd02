// The zygote, as greend sees it over the channel.
#include <gmock/gmock.h>

#include "common/names.h"
#include "tests/worker/fake_manager.h"

namespace green {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr const char* hello = R"(
def app(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [b'hello']
)";

void expect_import_failure(FakeManager& manager, StartFailure kind,
                           const ::testing::Matcher<std::string>& matcher) {
  manager.start();
  const auto heard = manager.hear(manager.zygote_channel);
  ASSERT_TRUE(heard);
  EXPECT_EQ(heard->message.type, MessageType::import_failed);
  EXPECT_EQ(heard->message.code, static_cast<int>(kind));
  EXPECT_THAT(heard->text, matcher);
  EXPECT_EQ(manager.exit_status_of(manager.zygote),
            kind == StartFailure::configuration ? exit_config : exit_failure);
}

TEST(Zygote, ImportsForksAndEndsWithItsChannel) {
  FakeManager manager(hello);
  manager.start_imported();
  EXPECT_EQ(manager.warning, "");
  manager.serve_worker(0);
  manager.serve_worker(1);
  EXPECT_EQ(manager.get("/").body, "hello");
  manager.zygote_channel.reset();
  EXPECT_EQ(manager.exit_status_of(manager.zygote), 0);
  EXPECT_EQ(manager.get("/").body, "hello") << "workers outlive their zygote";
}

TEST(Zygote, ReportsAnImportThatFailsWithItsTraceback) {
  FakeManager manager("import json\njson.loads('nonsense')\n");
  expect_import_failure(manager, StartFailure::application,
                        AllOf(HasSubstr("Traceback"), HasSubstr("site_app.py\", line 2"),
                              HasSubstr("JSONDecodeError")));
}

TEST(Zygote, ReportsAMissingModuleInOneLine) {
  FakeManager manager(hello);
  manager.settings.app = "sight_app:app";
  expect_import_failure(manager, StartFailure::configuration,
                        AllOf(HasSubstr("no module named 'sight_app'"), HasSubstr("'site_app'")));
}

TEST(Zygote, ReportsAnUnusableVenv) {
  FakeManager manager(hello);
  manager.settings.python = "/nonexistent/venv";
  expect_import_failure(manager, StartFailure::configuration, HasSubstr("/nonexistent/venv"));
}

TEST(Zygote, EndsWhenTheImportExitsTheProcess) {
  FakeManager manager("import os\nos._exit(7)\n");
  manager.start();
  EXPECT_FALSE(manager.hear(manager.zygote_channel));
  EXPECT_EQ(manager.exit_status_of(manager.zygote), 7);
}

TEST(Zygote, EndsAChildThatTheImportForked) {
  FakeManager manager(
      std::string("import os\nforked = os.fork()\nif forked: os.waitpid(forked, 0)\n") + hello);
  manager.start_imported();
  EXPECT_TRUE(manager.log_shows("is a child that the application forked"));
}

TEST(Zygote, StartsAnewWithoutTheThreadsOfAnImportAndLetsWorkersImport) {
  FakeManager manager(std::string(R"(
import os, socket, threading
threading.Thread(target=threading.Event().wait, name='poller', daemon=True).start()
pair = socket.socketpair()
os.environ['LEFT_BY_IMPORT'] = '1'
print('imported by', os.getpid(), flush=True)
)") + R"(
def app(environ, start_response):
    start_response('200 OK', [])
    names = ' '.join(sorted(t.name for t in threading.enumerate()))
    return [(names + ' ' + str(os.getpid())).encode()]
)");
  manager.start_imported();
  EXPECT_THAT(manager.warning,
              AllOf(HasSubstr("thread 'poller'"), HasSubstr("socket of an unnamed pair"),
                    HasSubstr("each worker imports")));
  std::ifstream comm("/proc/" + std::to_string(manager.zygote) + "/status");
  EXPECT_THAT(std::string(std::istreambuf_iterator<char>(comm), {}), HasSubstr("Threads:\t1\n"));
  const pid_t worker = manager.serve_worker(2);
  EXPECT_EQ(manager.get("/").body, "MainThread poller " + std::to_string(worker));
  EXPECT_THAT(manager.log(), HasSubstr("imported by " + std::to_string(worker)));
}

TEST(Zygote, ForksAllTheSameWithPreloadOn) {
  FakeManager manager(
      std::string("import threading\nthreading.Thread(target=threading.Event().wait, "
                  "name='poller', daemon=True).start()\n") +
      hello);
  manager.settings.preload = "on";
  manager.start_imported();
  EXPECT_THAT(manager.warning, HasSubstr("thread 'poller'"));
  manager.serve_worker(0);
  EXPECT_EQ(manager.get("/").body, "hello");
}

TEST(Zygote, ImportsNothingWithPreloadOff) {
  FakeManager manager(std::string("import os\nprint('imported by', os.getpid(), flush=True)\n") +
                      hello);
  manager.settings.preload = "off";
  manager.start_imported();
  EXPECT_EQ(manager.log(), "");
  const pid_t worker = manager.serve_worker(0);
  EXPECT_EQ(manager.get("/").body, "hello");
  EXPECT_EQ(manager.log(), "imported by " + std::to_string(worker) + "\n");
}

TEST(Zygote, RunsTheForkHooksOfTheApplication) {
  FakeManager manager(
      std::string("import os\nos.register_at_fork(before=lambda: print('before', flush=True), "
                  "after_in_parent=lambda: print('parent', flush=True), "
                  "after_in_child=lambda: print('child', flush=True))\n") +
      hello);
  manager.start_imported();
  manager.serve_worker(0);
  EXPECT_THAT(manager.log(),
              AllOf(HasSubstr("before\n"), HasSubstr("parent\n"), HasSubstr("child\n")));
}

TEST(Zygote, RefusesASpecOfAnotherVersion) {
  FakeManager manager(hello);
  manager.protocol_version = worker_protocol_version + 1;
  expect_import_failure(manager, StartFailure::configuration, HasSubstr("different versions"));
}

TEST(Zygote, IsNamedForPs) {
  FakeManager manager(hello);
  manager.start_imported();
  const pid_t worker = manager.serve_worker(1);
  const auto title = [](pid_t pid) {
    std::ifstream file("/proc/" + std::to_string(pid) + "/cmdline");
    std::string line;
    std::getline(file, line, '\0');
    return line;
  };
  EXPECT_EQ(title(manager.zygote), "green-worker: shop generation 3 zygote");
  EXPECT_EQ(title(worker), "green-worker: shop generation 3 worker 1");
}

TEST(GreenWorker, SaysThatItIsNotStartedByHand) {
  EXPECT_EQ(WEXITSTATUS(std::system(GREEN_WORKER_PROGRAM " shop 3<&- 2>/dev/null")), exit_usage);
  EXPECT_EQ(WEXITSTATUS(std::system(GREEN_WORKER_PROGRAM " 2>/dev/null")), exit_usage);
}

}  // namespace
}  // namespace green
