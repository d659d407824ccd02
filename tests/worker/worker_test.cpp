// Workers: what they answer, how they end, and what an application can't do to them.
#include <gmock/gmock.h>

#include "common/names.h"
#include "tests/worker/fake_manager.h"

namespace green {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

/// Each path runs the function of its name.
constexpr const char* prelude = R"(
import os, signal, sys, threading, time
def hello(environ): return b'hello'
def pid(environ): return str(os.getpid()).encode()
def app(environ, start_response):
    body = globals()[environ['PATH_INFO'].strip('/')](environ)
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [body]
)";

std::string site(std::string_view code) { return prelude + std::string(code); }

TEST(Worker, ServesOnlyOnceItIsTold) {
  FakeManager manager(site(""));
  manager.start_imported();
  const pid_t pid = manager.fork_worker(1);
  ASSERT_EQ(manager.hear(manager.channels[1])->message.type, MessageType::ready);
  const ScoreboardSlot& slot = manager.scoreboard->slot(1);
  EXPECT_EQ(slot.pid, static_cast<std::uint32_t>(pid));
  EXPECT_EQ(slot.generation, 3U);
  EXPECT_EQ(slot.activity, WorkerActivity::idle);
  const Fd client = manager.connect();
  FakeManager::say(client, "GET /pid HTTP/1.0\r\n\r\n");
  pollfd readable{client.get(), POLLIN, 0};
  EXPECT_EQ(::poll(&readable, 1, 200), 0);
  // Told to serve, but its generation is not the one that does: still not.
  manager.tell(1, MessageType::serve);
  EXPECT_EQ(::poll(&readable, 1, 200), 0);
  manager.scoreboard->header().serving_generation = 3;
  EXPECT_EQ(FakeManager::read_reply(client).body, std::to_string(pid));
  EXPECT_EQ(slot.accepted, 1U);
  EXPECT_TRUE(FakeManager::eventually([&] { return slot.requests == 1 && slot.in_flight == 0; }));
}

TEST(Worker, BeatsItsHeartWhileIdle) {
  FakeManager manager(site(""));
  manager.start_imported();
  manager.serve_worker(0);
  const ScoreboardSlot& slot = manager.scoreboard->slot(0);
  const std::uint64_t first = slot.heartbeat_usec;
  EXPECT_TRUE(FakeManager::eventually([&] { return slot.heartbeat_usec > first + 300'000; }));
  EXPECT_LT(monotonic_usec() - slot.heartbeat_usec, 2'000'000U);
}

TEST(Worker, LetsApplicationThreadsRunWhileItWaits) {
  FakeManager manager(site(R"(
ticks = []
def tick():
    while True:
        ticks.append(1)
        time.sleep(0.01)
def start(environ):
    threading.Thread(target=tick, daemon=True).start()
    return b'started'
def count(environ): return str(len(ticks)).encode()
)"));
  manager.start_imported();
  manager.serve_worker(0);
  manager.get("/start");
  EXPECT_TRUE(
      FakeManager::eventually([&] { return std::atoi(manager.get("/count").body.c_str()) > 20; }));
}

TEST(Worker, FinishesARequestInFlightWhenDrained) {
  FakeManager manager(site("def slow(environ):\n  time.sleep(1)\n  return b'done'\n"));
  manager.start_imported();
  const pid_t pid = manager.serve_worker(0);
  const Fd client = manager.connect();
  FakeManager::say(client, "GET /slow HTTP/1.1\r\nHost: shop\r\n\r\n");
  ASSERT_TRUE(FakeManager::eventually(
      [&] { return manager.scoreboard->slot(0).activity == WorkerActivity::busy; }));
  manager.tell(0, MessageType::drain);
  const Reply reply = FakeManager::read_reply(client);
  EXPECT_EQ(reply.body, "done");
  EXPECT_EQ(manager.hear(manager.channels[0])->message.type, MessageType::draining);
  EXPECT_EQ(manager.exit_status_of(pid), 0);
}

TEST(Worker, DrainsOnSigtermAndWhenItsManagerIsGone) {
  FakeManager manager(
      site("import atexit\natexit.register(lambda: print('at exit', flush=True))\n"));
  manager.start_imported();
  const pid_t first = manager.serve_worker(0);
  const pid_t second = manager.serve_worker(1);
  ::kill(first, SIGTERM);
  EXPECT_EQ(manager.hear(manager.channels[0])->message.type, MessageType::draining);
  EXPECT_EQ(manager.exit_status_of(first), 0);
  manager.channels.erase(1);
  EXPECT_EQ(manager.exit_status_of(second), 0);
  EXPECT_THAT(manager.log(), HasSubstr("at exit\nat exit\n"));
}

TEST(Worker, IgnoresWhatATerminalSendsToEveryone) {
  FakeManager manager(site(""));
  manager.start_imported();
  const pid_t pid = manager.serve_worker(0);
  for (const int number : {SIGINT, SIGQUIT, SIGHUP}) {
    ::kill(pid, number);
    ::kill(manager.zygote, number);
  }
  EXPECT_EQ(manager.get("/pid").body, std::to_string(pid));
  EXPECT_GT(manager.serve_worker(1), 0);
}

TEST(Worker, DrainsOnSigtermThoughTheApplicationHasAHandlerOfItsOwn) {
  FakeManager manager(
      site("signal.signal(signal.SIGTERM, lambda *a: None)\n"
           "def again(environ):\n  signal.signal(signal.SIGTERM, signal.SIG_IGN)\n  return b''\n"));
  manager.start_imported();
  const pid_t pid = manager.serve_worker(0);
  manager.get("/again");
  // Its own handler comes back within the second of the worker's repairs.
  EXPECT_TRUE(FakeManager::eventually([&] {
    ::kill(pid, SIGTERM);
    return ::waitid(P_PID, static_cast<id_t>(pid), nullptr, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           manager.log().empty() &&
           manager.scoreboard->slot(0).activity == WorkerActivity::draining;
  }));
  EXPECT_EQ(manager.exit_status_of(pid), 0);
}

TEST(Worker, AnswersAProbeInProcess) {
  FakeManager manager(site(""));
  manager.settings.probe = "/hello";
  manager.start_imported();
  manager.fork_worker(0);
  ASSERT_EQ(manager.hear(manager.channels[0])->message.type, MessageType::ready);
  manager.tell(0, MessageType::probe);
  const auto probed = manager.hear(manager.channels[0]);
  ASSERT_TRUE(probed);
  EXPECT_EQ(probed->message.type, MessageType::probed);
  EXPECT_EQ(probed->message.code, 200);
  EXPECT_EQ(probed->text, "");
}

TEST(Worker, ReportsTheTracebackOfAProbeThatFails) {
  FakeManager manager(site("def fails(environ):\n  raise ValueError('no table')\n"));
  manager.settings.probe = "/fails";
  manager.start_imported();
  manager.fork_worker(0);
  ASSERT_EQ(manager.hear(manager.channels[0])->message.type, MessageType::ready);
  manager.tell(0, MessageType::probe);
  const auto probed = manager.hear(manager.channels[0]);
  ASSERT_TRUE(probed);
  EXPECT_EQ(probed->message.code, 0);
  EXPECT_THAT(probed->text, AllOf(HasSubstr("Traceback"), HasSubstr("ValueError: no table")));
}

TEST(Worker, ReportsAnImportOfItsOwnThatFails) {
  FakeManager manager("raise ValueError('no database')\n");
  manager.settings.preload = "off";
  manager.start_imported();
  const pid_t pid = manager.fork_worker(0);
  const auto heard = manager.hear(manager.channels[0]);
  ASSERT_TRUE(heard);
  EXPECT_EQ(heard->message.type, MessageType::start_failed);
  EXPECT_EQ(heard->message.code, static_cast<int>(StartFailure::application));
  EXPECT_THAT(heard->text, HasSubstr("ValueError: no database"));
  EXPECT_EQ(manager.exit_status_of(pid), exit_failure);
}

TEST(Worker, AnswersAnApplicationThatRaisesWith500AndGoesOn) {
  FakeManager manager(site(
      "def fails(environ):\n  raise ValueError('boom')\ndef exits(environ):\n  sys.exit(1)\n"));
  manager.start_imported();
  manager.serve_worker(0);
  EXPECT_EQ(manager.get("/fails?x=1").status(), 500);
  EXPECT_EQ(manager.get("/exits").status(), 500);
  EXPECT_EQ(manager.get("/hello").status(), 200);
  EXPECT_THAT(manager.log(),
              AllOf(HasSubstr("GET /fails: the application failed"), Not(HasSubstr("x=1")),
                    HasSubstr("ValueError: boom"), HasSubstr("SystemExit: 1")));
}

TEST(Worker, LivesOnWhenTheApplicationClosesItsDescriptors) {
  FakeManager manager(
      site("def close(environ):\n  os.closerange(0, 11)\n  return b'closed'\n"
           "def say(environ):\n  print('still heard', flush=True)\n  return b'said'\n"));
  manager.start_imported();
  const pid_t pid = manager.serve_worker(0);
  EXPECT_EQ(manager.get("/close").body, "closed");
  EXPECT_EQ(manager.get("/close").body, "closed");
  EXPECT_EQ(manager.get("/pid").body, std::to_string(pid));
  EXPECT_TRUE(FakeManager::eventually([&] {
    return manager.get("/say").body == "said" &&
           manager.log().find("still heard") != std::string::npos;
  })) << "standard output was not opened again";
  manager.tell(0, MessageType::drain);
  EXPECT_EQ(manager.exit_status_of(pid), 0);
}

TEST(Worker, EndsAChildThatARequestForked) {
  FakeManager manager(
      site("def fork(environ):\n  child = os.fork()\n  if child: os.waitpid(child, 0)\n"
           "  return b'parent' if child else b'child'\n"));
  manager.start_imported();
  manager.serve_worker(0);
  EXPECT_EQ(manager.get("/fork").body, "parent");
  EXPECT_EQ(manager.get("/hello").body, "hello");
  EXPECT_THAT(manager.log(), HasSubstr("is a child that the application forked"));
}

TEST(Worker, ShowsTheStacksOfACrash) {
  FakeManager manager(site("import ctypes\ndef crash(environ):\n  ctypes.string_at(0)\n"));
  manager.start_imported();
  const pid_t pid = manager.serve_worker(0);
  EXPECT_EQ(manager.get("/crash").status(), 0);
  EXPECT_NE(manager.exit_status_of(pid), 0);
  EXPECT_THAT(manager.log(), AllOf(HasSubstr("Segmentation fault"),
                                   HasSubstr("site_app.py\", line"), HasSubstr("in crash")));
}

TEST(Worker, ShowsItsStacksOnTheDumpSignalAlsoWhenStuck) {
  FakeManager manager(site("def stuck(environ):\n  os.closerange(0, 3)\n  time.sleep(60)\n"));
  manager.start_imported();
  const pid_t pid = manager.serve_worker(0);
  const Fd client = manager.connect();
  FakeManager::say(client, "GET /stuck HTTP/1.0\r\n\r\n");
  ASSERT_TRUE(
      FakeManager::eventually([&] { return manager.scoreboard->slot(0).busy_since_usec != 0; }));
  ::kill(pid, worker_dump_signal());
  EXPECT_TRUE(manager.log_shows("in stuck"));
}

TEST(Worker, HasNothingThatSpeaksForTheService) {
  FakeManager manager(site(R"(
import stat
def environment(environ): return ' '.join(os.environ).encode()
def descriptors(environ):
    kinds = []
    for fd in sorted(int(name) for name in os.listdir('/proc/self/fd')):
        try: kinds.append('%d %s' % (fd, os.readlink('/proc/self/fd/%d' % fd)))
        except OSError: pass
    return '\n'.join(kinds).encode()
)"));
  manager.start_imported();
  manager.serve_worker(0);
  manager.serve_worker(1);
  for (int i = 0; i < 4; ++i) {
    const std::string names = manager.get("/environment").body;
    EXPECT_THAT(names, AllOf(HasSubstr("PATH"), Not(HasSubstr("NOTIFY_SOCKET")),
                             Not(HasSubstr("LISTEN_")), Not(HasSubstr("WATCHDOG_"))));
    const std::string descriptors = manager.get("/descriptors").body;
    // Its channel, its listener, this connection, and where it is asked for stacks: no other's.
    std::size_t sockets = 0;
    for (std::size_t at = 0; (at = descriptors.find("socket:", at)) != std::string::npos; ++at)
      ++sockets;
    EXPECT_EQ(sockets, 4U) << descriptors;
  }
}

TEST(Worker, StopsAcceptingOnceAnotherGenerationServes) {
  FakeManager manager(site(""));
  manager.start_imported();
  const pid_t pid = manager.serve_worker(0);
  EXPECT_EQ(manager.get("/hello").body, "hello");
  manager.scoreboard->header().serving_generation = 4;
  const Fd client = manager.connect();
  FakeManager::say(client, "GET /hello HTTP/1.0\r\n\r\n");
  EXPECT_EQ(manager.exit_status_of(pid), 0);
  pollfd readable{client.get(), POLLIN, 0};
  EXPECT_EQ(::poll(&readable, 1, 0), 0) << "the connection still waits for the new generation";
}

}  // namespace
}  // namespace green
