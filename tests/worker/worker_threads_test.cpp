// Workers with threads = N; and what must hold whether the application is called on the loop thread
// or on a pool.
#include <gmock/gmock.h>

#include <atomic>

#include "common/names.h"
#include "tests/worker/fake_manager.h"

namespace green {
namespace {

using std::chrono::seconds;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

/// Each path runs the function of its name.
constexpr const char* prelude = R"(
import os, sys, threading, time
def hello(environ, start): return [b'hello']
def app(environ, start_response):
    replied = []
    def start(status='200 OK', headers=()):
        write = start_response(status, list(headers))
        replied.append(status)
        return write
    body = globals()[environ['PATH_INFO'].strip('/')](environ, start)
    if not replied and not hasattr(body, '__next__'): start()  # an iterator does so itself
    return body
)";

std::unique_ptr<FakeManager> make_manager(int threads, std::string_view code) {
  auto manager = std::make_unique<FakeManager>(prelude + std::string(code));
  manager->settings.threads = threads;
  return manager;
}

std::unique_ptr<FakeManager> serving(int threads, std::string_view code) {
  auto manager = make_manager(threads, code);
  manager->start_imported();
  manager->serve_worker(0);
  return manager;
}

Fd ask(const FakeManager& manager, const std::string& path) {
  Fd client = manager.connect();
  FakeManager::say(client, "GET " + path + " HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n");
  return client;
}

TEST(WorkerThreads, RunAsManyCallsAtOnceAsThereAreThreads) {
  const auto manager = serving(4, R"(
all_here = threading.Barrier(4)
def meet(environ, start):
    all_here.wait(15)
    return [threading.current_thread().name.encode()]
)");
  std::vector<Fd> clients;
  for (int i = 0; i < 4; ++i) clients.push_back(ask(*manager, "/meet"));
  std::set<std::string> names;
  for (const Fd& client : clients) names.insert(FakeManager::read_reply(client).body);
  EXPECT_THAT(names, ::testing::ElementsAre("green-1", "green-2", "green-3", "green-4"));
}

TEST(WorkerThreads, MakeTheRestWaitForAThread) {
  const auto manager = serving(2, R"(
running = 0
lock = threading.Lock()
def count(environ, start):
    global running
    with lock: running += 1
    time.sleep(0.05)
    seen = running
    with lock: running -= 1
    return [str(seen).encode()]
)");
  std::vector<Fd> clients;
  for (int i = 0; i < 10; ++i) clients.push_back(ask(*manager, "/count"));
  for (const Fd& client : clients) {
    const std::string seen = FakeManager::read_reply(client).body;
    EXPECT_TRUE(seen == "1" || seen == "2") << seen;
  }
}

TEST(WorkerThreads, AreAnnouncedToTheApplication) {
  constexpr const char* code =
      "def ask(environ, start): return [str(environ['wsgi.multithread']).encode()]\n";
  EXPECT_EQ(serving(2, code)->get("/ask").body, "True");
  EXPECT_EQ(serving(1, code)->get("/ask").body, "False");
}

TEST(WorkerThreads, GiveUpACallThatOutlivesTimeoutAndDrainWithoutWaitingForIt) {
  const auto manager = make_manager(4, R"(
def stuck(environ, start):
  time.sleep(60)
  return [b'']
def nap(environ, start):
  time.sleep(1)
  return [b'woke']
)");
  manager->start_imported();
  const pid_t pid = manager->serve_worker(0);
  const ScoreboardSlot& slot = manager->scoreboard->slot(0);
  const auto begun = Clock::now();
  const Fd stuck = ask(*manager, "/stuck?key=secret");
  ASSERT_TRUE(FakeManager::eventually([&] { return slot.activity == WorkerActivity::busy; }));
  while (Clock::now() < begun + std::chrono::milliseconds(1500))
    EXPECT_EQ(manager->get("/hello").body, "hello");
  const Fd other = ask(*manager, "/nap");
  EXPECT_EQ(FakeManager::read_reply(stuck).status(), 504);
  const auto took = Clock::now() - begun;
  EXPECT_GE(took, seconds(2));  // settings.timeout
  EXPECT_LT(took, seconds(3));
  EXPECT_EQ(FakeManager::read_reply(other).body, "woke");
  EXPECT_EQ(manager->hear(manager->channels[0])->message.type, MessageType::overdue);
  EXPECT_EQ(manager->hear(manager->channels[0])->message.type, MessageType::draining);
  EXPECT_EQ(manager->exit_status_of(pid), 0);
  EXPECT_LT(Clock::now() - begun, seconds(8));  // settings.graceful_timeout is 10
  EXPECT_THAT(manager->log(), AllOf(HasSubstr("GET /stuck was not answered within timeout (2 s)"),
                                    HasSubstr("in stuck"), Not(HasSubstr("secret"))));
}

TEST(WorkerThreads, BeatThoughACallIsStuck) {
  const auto manager = make_manager(2, "def stuck(environ, start):\n  time.sleep(60)\n");
  manager->settings.timeout = seconds(0);
  manager->start_imported();
  manager->serve_worker(0);
  const ScoreboardSlot& slot = manager->scoreboard->slot(0);
  const Fd stuck = ask(*manager, "/stuck");
  ASSERT_TRUE(FakeManager::eventually([&] { return slot.busy_since_usec != 0; }));
  const std::uint64_t since = slot.busy_since_usec;
  EXPECT_EQ(manager->get("/hello").body, "hello");
  EXPECT_TRUE(FakeManager::eventually([&] { return slot.heartbeat_usec > since; }));
  EXPECT_GE(slot.busy_since_usec, since);
}

TEST(WorkerThreads, LeaveAWorkerIdleOnceTheyAreDone) {
  const auto manager =
      serving(2, "def nap(environ, start):\n  time.sleep(0.3)\n  return [b'woke']\n");
  const ScoreboardSlot& slot = manager->scoreboard->slot(0);
  EXPECT_EQ(manager->get("/nap").body, "woke");
  EXPECT_TRUE(FakeManager::eventually([&] {
    return slot.busy_since_usec == 0 && slot.activity == WorkerActivity::idle &&
           slot.in_flight == 0 && slot.requests == 1;
  }));
  EXPECT_LT(monotonic_usec() - slot.heartbeat_usec, 1'000'000U);
}

TEST(WorkerThreads, SendEachPartOfAReplyAsItComes) {
  const auto manager = serving(2, R"(
go_on = threading.Event()
def parts(environ, start):
    write = start('200 OK', [('X-Part', 'all')])
    write(b'one ')
    go_on.wait(15)
    yield b'two '
    yield b'three'
def go(environ, start):
    go_on.set()
    return [b'']
)");
  const Fd client = manager->connect();
  FakeManager::say(client, "GET /parts HTTP/1.0\r\n\r\n");
  std::string first;
  std::array<char, 512> buffer{};
  while (first.find("one ") == std::string::npos) {
    const ssize_t size = ::recv(client.get(), buffer.data(), buffer.size(), 0);
    ASSERT_GT(size, 0);
    first.append(buffer.data(), static_cast<std::size_t>(size));
  }
  EXPECT_THAT(first, HasSubstr("X-Part: all"));
  manager->get("/go");
  EXPECT_EQ(FakeManager::read_reply(client).head, "two three");
}

TEST(WorkerThreads, AreNotHeldByASlowReader) {
  const auto manager = serving(2, R"(
made = threading.Event()
def much(environ, start):
    start()
    for _ in range(256): yield b'x' * 65536
    made.set()
def is_made(environ, start): return [str(made.wait(15)).encode()]
)");
  const Fd slow = ask(*manager, "/much");
  EXPECT_EQ(manager->get("/is_made").body, "True");
  const Reply reply = FakeManager::read_reply(slow);
  EXPECT_GT(reply.body.size(), std::size_t{16} << 20);
}

TEST(WorkerThreads, FramesRepliesAsWithoutThem) {
  const auto manager =
      serving(2, "def many(environ, start):\n  start()\n  yield b'a'\n  yield b'b'\n");
  EXPECT_THAT(manager->get("/hello").head, HasSubstr("\r\nContent-Length: 5\r\n"));
  const Reply parts = manager->get("/many");
  EXPECT_THAT(parts.head, HasSubstr("\r\nTransfer-Encoding: chunked\r\n"));
  EXPECT_THAT(parts.body, ::testing::EndsWith("\r\n0\r\n\r\n"));
}

TEST(WorkerThreads, EndAReplyWhoseClientIsGone) {
  const auto manager = serving(2, R"(
closed = threading.Event()
class Endless:
    def __iter__(self): return self
    def __next__(self): return b'x' * 65536
    def close(self): closed.set()
def endless(environ, start):
    start()
    return Endless()
def is_closed(environ, start): return [str(closed.wait(15)).encode()]
)");
  {
    const Fd client = ask(*manager, "/endless");
  }
  EXPECT_EQ(manager->get("/is_closed").body, "True");
  EXPECT_EQ(manager->log(), "") << "a client that left is no error of the application";
}

TEST(WorkerThreads, AnswerAProbe) {
  const auto manager =
      make_manager(2, "def broken(environ, start): raise ValueError('on a thread')\n");
  manager->settings.probe = "/broken";
  manager->start_imported();
  manager->fork_worker(0);
  ASSERT_EQ(manager->hear(manager->channels[0])->message.type, MessageType::ready);
  manager->tell(0, MessageType::probe);
  const auto probed = manager->hear(manager->channels[0]);
  ASSERT_TRUE(probed);
  EXPECT_EQ(probed->message.type, MessageType::probed);
  EXPECT_EQ(probed->message.code, 0);
  EXPECT_THAT(probed->text, HasSubstr("ValueError: on a thread"));
}

TEST(WorkerThreads, EndAChildThatARequestForked) {
  const auto manager = serving(2, R"(
def fork(environ, start):
    pid = os.fork()
    if pid == 0: return [b'child']
    os.waitpid(pid, 0)
    return [b'parent']
)");
  EXPECT_EQ(manager->get("/fork").body, "parent");
  EXPECT_THAT(manager->log(), HasSubstr("is a child that the application forked"));
}

TEST(WorkerThreads, DoNotKeepAWorkerFromEndingForLongerThanGracefulTimeout) {
  const auto manager = make_manager(2, R"(
class Body(list):
    def close(self): time.sleep(3600)
def hangs(environ, start): return Body([b'sent'])
)");
  manager->settings.graceful_timeout = seconds(1);
  manager->start_imported();
  const pid_t pid = manager->serve_worker(0);
  EXPECT_THAT(manager->get("/hangs").body, HasSubstr("sent"));
  manager->tell(0, MessageType::drain);
  EXPECT_EQ(manager->exit_status_of(pid), 0);
}

class WorkerInEveryMode : public ::testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Threads, WorkerInEveryMode, ::testing::Values(1, 4));

TEST_P(WorkerInEveryMode, LetsTheApplicationsThreadsRunWhileIdleAndWhileBusy) {
  const auto manager = serving(GetParam(), R"(
ticks = 0
def tick():
    global ticks
    while True:
        ticks += 1
        time.sleep(0.001)
def start_ticking(environ, start):
    threading.Thread(target=tick, daemon=True).start()
    return [b'']
def count(environ, start): return [str(ticks).encode()]
)");
  const auto count = [&] { return std::atoi(manager->get("/count").body.c_str()); };
  manager->get("/start_ticking");
  const int at_first = count();
  std::this_thread::sleep_for(std::chrono::milliseconds(500));  // nothing to wait for: it is idle
  const int after_idling = count();
  EXPECT_GT(after_idling, at_first + 20);
  // A client that always has the next requests on their way keeps the loop from ever blocking.
  Fd client = manager->connect();
  const linger reset_at_close{.l_onoff = 1, .l_linger = 0};  // what is still to be read is dropped
  ::setsockopt(client.get(), SOL_SOCKET, SO_LINGER, &reset_at_close, sizeof reset_at_close);
  std::string requests;
  for (int i = 0; i < 50; ++i) requests += "GET /hello HTTP/1.1\r\nHost: shop\r\n\r\n";
  std::atomic<bool> is_over{false};
  std::thread reader([&] {
    std::array<char, 65536> buffer{};
    while (!is_over && ::recv(client.get(), buffer.data(), buffer.size(), 0) > 0) {
    }
  });
  const auto end = Clock::now() + std::chrono::milliseconds(700);
  while (Clock::now() < end) FakeManager::say(client, requests);
  is_over = true;
  ::shutdown(client.get(), SHUT_RD);
  reader.join();
  client.reset();
  const int after_work = count();
  EXPECT_GT(after_work, after_idling + 20);
}

TEST_P(WorkerInEveryMode, FinishesCallsUnderWayWhenDrained) {
  const auto manager =
      make_manager(GetParam(), "def slow(environ, start):\n  time.sleep(1)\n  return [b'done']\n");
  manager->start_imported();
  const pid_t pid = manager->serve_worker(0);
  const Fd client = ask(*manager, "/slow");
  ASSERT_TRUE(FakeManager::eventually(
      [&] { return manager->scoreboard->slot(0).activity == WorkerActivity::busy; }));
  manager->tell(0, MessageType::drain);
  EXPECT_EQ(FakeManager::read_reply(client).body, "done");
  EXPECT_EQ(manager->exit_status_of(pid), 0);
}

TEST_P(WorkerInEveryMode, AnswersApplicationErrorsWith500AndGoesOn) {
  const auto manager = serving(GetParam(), R"(
def raises(environ, start): raise ValueError('boom')
def exits(environ, start): sys.exit(3)
def too_long(environ, start):
    write = start('200 OK', [('Content-Length', '2')])
    try: write(b'abcd')
    except ValueError as error: print('told:', error, flush=True)
    return []
def bad_header(environ, start):
    try: start('200 OK', [('X', 'a\r\nb')])
    except ValueError: return [b'refused']
)");
  EXPECT_EQ(manager->get("/raises?x=1").status(), 500);
  EXPECT_EQ(manager->get("/exits").status(), 500);
  EXPECT_EQ(manager->get("/too_long").body, "ab");
  EXPECT_EQ(manager->get("/bad_header").body, "refused");
  EXPECT_EQ(manager->get("/hello").body, "hello");
  EXPECT_THAT(manager->log(), AllOf(HasSubstr("GET /raises: the application failed"),
                                    Not(HasSubstr("x=1")), HasSubstr("ValueError: boom"),
                                    HasSubstr("SystemExit: 3"), HasSubstr("told: ")));
}

}  // namespace
}  // namespace green
