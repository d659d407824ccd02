#include "daemon/http/access_log.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/stat.h>

#include <fstream>
#include <set>
#include <sstream>

#include "common/settings.h"
#include "tests/common/fake_journal.h"
#include "tests/http/server_fixture.h"

namespace green::http {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;

class AccessLogs : public testing::ServerFixture {
 protected:
  AccessLogs() {
    char name[] = "/tmp/green-access.XXXXXX";
    folder = ::mkdtemp(name);
    settings = default_settings();
    settings.spool_directory = "/tmp";
    settings.access_log = folder + "/log";
  }
  ~AccessLogs() override {
    server.reset();
    ::unlink((folder + "/log").c_str());
    ::rmdir(folder.c_str());
  }

  void start(const std::string& format) {
    settings.access_log_format = format;
    auto made =
        AccessLog::create(settings, {.site = "shop", .generation = 3, .worker = 1}, journal.path());
    ASSERT_TRUE(made) << made.error().message();
    server.reset();
    log = std::move(*made);
    server = Server::create(*reactor, application, observer, *make_limits(settings), log.get());
  }

  std::vector<std::string> lines() const {
    std::ifstream file(folder + "/log");
    std::vector<std::string> all;
    for (std::string line; std::getline(file, line);) all.push_back(line);
    return all;
  }

  std::string folder;
  Settings settings;
  FakeJournal journal;
  std::unique_ptr<AccessLog> log;
};

TEST_F(AccessLogs, HaveALineForEachReply) {
  start(
      "%(m)s|%(U)s|%(q)s|%(H)s|%(s)s|%(B)s|%(b)s|%(u)s|%(f)s|%({x-a}i)s|%({server}o)s|%({HTTP_X_A}"
      "e)s");
  const auto client = connect();
  ask(client,
      "GET /a?b=c HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nAuthorization: Basic "
      "YW5uIGVlOnNlY3JldA==\r\n\r\n");
  application.answer = [](Exchange& exchange) {
    ASSERT_TRUE(exchange.start(204, "No Content", {}));
    exchange.finish();
  };
  send(client, "DELETE / HTTP/1.0\r\nReferer: r\r\n\r\n");
  receive_all(client);
  EXPECT_THAT(lines(), ElementsAre("GET|/a|b=c|HTTP/1.1|200|11|11|ann+ee|-|1|green|1",
                                   "DELETE|/||HTTP/1.0|204|0|-|-|r|-|green|-"));
}

TEST_F(AccessLogs, KnowGunicornsNames) {
  start("combined");
  const auto client = connect();
  ask(client, "GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: curl/8\r\n\r\n");
  ASSERT_EQ(lines().size(), 1U);
  EXPECT_THAT(lines()[0],
              MatchesRegex("- - - \\[[0-9]{2}/[A-Z][a-z]{2}/[0-9]{4}:[0-9:]{8} [+-][0-9]{4}\\] "
                           "\"GET / HTTP/1.1\" 200 6 \"-\" \"curl/8\""));
}

TEST_F(AccessLogs, TellOfRequestsThatTheServerRefused) {
  start("%(r)s %(s)s");
  for (const std::string_view request :
       {"NONSENSE\r\n\r\n", "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n",
        "POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n"}) {
    const auto client = connect();
    send(client, request);
    receive_until(client, "\n");
    turn();
  }
  EXPECT_THAT(lines(), ElementsAre(MatchesRegex("- (400|501)"), "CONNECT a:1 HTTP/1.1 501",
                                   "POST /up HTTP/1.1 413"));
}

TEST_F(AccessLogs, TellOfAClientThatWentAndOfACallThatWasGivenUp) {
  start("%(U)s %(s)s");
  std::vector<Exchange*> kept;
  application.answer = [&](Exchange& exchange) { kept.push_back(&exchange); };
  auto gone = connect();
  send(gone, "GET /gone HTTP/1.1\r\nHost: a\r\n\r\n");
  const auto late = connect();
  send(late, "GET /late HTTP/1.1\r\nHost: a\r\n\r\n");
  ASSERT_TRUE(turn_until([&] { return kept.size() == 2; }));
  kept[1]->give_up();
  EXPECT_THAT(lines(), ElementsAre("/late 504"));
  gone.reset();
  turn();
  kept[0]->abort();
  kept[1]->abort();
  turn();
  EXPECT_THAT(lines(), ElementsAre("/late 504", "/gone 500"));
}

TEST_F(AccessLogs, CannotBeForged) {
  start("combined");
  const auto client = connect();
  ask(client, "GET /%0a%22 HTTP/1.1\r\nHost: a\r\nUser-Agent: a\"b\\c\t\x9b[31m\r\n\r\n");
  ASSERT_EQ(lines().size(), 1U);
  EXPECT_THAT(lines()[0], HasSubstr(R"("GET /%0a%22 HTTP/1.1" 200)"));
  EXPECT_THAT(lines()[0], HasSubstr(R"("a\x22b\x5Cc\x09\x9B[31m")"));
  start("json");
  const auto other = connect();
  ask(other, "GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: a\"b\\c\t\x9b[31m\r\n\r\n");
  ASSERT_EQ(lines().size(), 2U);
  EXPECT_THAT(lines()[1], AllOf(HasSubstr(R"("user_agent":"a\u0022b\u005cc\u0009\u009b[31m"})"),
                                HasSubstr(R"("site":"shop","generation":3,"worker":1)"),
                                MatchesRegex(".*\"request_id\":\"[0-9a-f]{32}\".*")));
}

TEST_F(AccessLogs, CutValuesThatWouldMakeALineTooLong) {
  start("%(r)s %(a)s");
  const auto client = connect();
  ask(client, "GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: " + std::string(8000, 'x') + "\r\n\r\n");
  ASSERT_EQ(lines().size(), 1U);
  EXPECT_EQ(lines()[0], "GET / HTTP/1.1 " + std::string(256, 'x') + "...");
}

TEST_F(AccessLogs, WriteTheJournalsFields) {
  settings.access_log = "journal";
  settings.forwarded_allow_ips = {"unix:"};
  start("%(m)s %(s)s");
  const auto client = connect();
  ask(client,
      "GET /a\nb?secret HTTP/1.1\r\nHost: a\r\n\r\n");  // malformed: a newline in the target
  EXPECT_THAT(journal.take(), HasSubstr("MESSAGE=- 400\n"));
  const auto other = connect();
  ask(other,
      "GET /a?secret HTTP/1.1\r\nHost: a\r\nX-Request-ID: r-1\r\nX-Forwarded-For: "
      "192.0.2.7\r\n\r\n");
  const std::string entry = journal.take();
  for (const char* field : {"MESSAGE=GET 200\n", "SITE=shop\n", "GENERATION=3\n", "WORKER=1\n",
                            "REQUEST_ID=r-1\n", "METHOD=GET\n", "PATH=/a\n", "STATUS=200\n",
                            "\nDURATION_USEC=", "\nBYTES=", "REMOTE_ADDR=192.0.2.7\n",
                            "MESSAGE_ID=35568c7b261345be98593d13a5b25c41\n"})
    EXPECT_THAT(entry, HasSubstr(field));
  EXPECT_THAT(entry, Not(HasSubstr("secret")));
}

TEST_F(AccessLogs, DropLinesThatAPipeDoesNotTakeAndGoOn) {
  ASSERT_EQ(::mkfifo((folder + "/log").c_str(), 0600), 0);
  const Fd reader(::open((folder + "/log").c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  start("%(U)s");
  const auto client = connect();
  const std::string request = "GET /" + std::string(3000, 'x') + " HTTP/1.1\r\nHost: a\r\n\r\n";
  for (int i = 0; i < 100; ++i) ask(client, request);
  EXPECT_EQ(observer.done, 100);
  const auto dropped = log->dropped();
  EXPECT_GT(dropped, 50U);

  ::testing::internal::CaptureStderr();
  log->report(1'000'000);
  EXPECT_THAT(
      ::testing::internal::GetCapturedStderr(),
      HasSubstr(std::to_string(dropped) + " lines were dropped: its target does not keep up"));
  std::string read;
  std::array<char, 65536> piece;
  const auto drain = [&] {
    ssize_t count = 0;
    while ((count = ::read(reader.get(), piece.data(), piece.size())) > 0)
      read.append(piece.data(), static_cast<std::size_t>(count));
  };
  drain();
  ask(client, "GET /last HTTP/1.1\r\nHost: a\r\n\r\n");
  drain();
  EXPECT_TRUE(read.ends_with("/last\n"));
  std::istringstream whole(read);
  for (std::string line; std::getline(whole, line);)
    EXPECT_TRUE(line.size() == 3001 || line == "/last") << line.size();
}

TEST_F(AccessLogs, TellAJournalThatStoppedOnceItGoesOn) {
  settings.access_log = "journal";
  start("%(U)s");
  const auto client = connect();
  for (int i = 0; i < 2000; ++i) ask(client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  const auto dropped = log->dropped();
  EXPECT_GT(dropped, 0U);
  log->report(1'000'000);
  EXPECT_EQ(log->dropped(), dropped) << "told to nobody";
  while (!journal.take().empty()) {
  }
  log->report(2'000'000);
  EXPECT_THAT(journal.take(), AllOf(HasSubstr(std::to_string(dropped) + " lines were dropped"),
                                    HasSubstr("PRIORITY=4\n")));
  EXPECT_EQ(log->dropped(), 0U);
}

TEST_F(AccessLogs, TellOfDroppedLinesOnceAMinute) {
  settings.access_log = "/dev/full";
  start("%(U)s");
  const auto client = connect();
  const auto told_at = [&](std::uint64_t usec) {
    ask(client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    ::testing::internal::CaptureStderr();
    log->report(usec);
    return ::testing::internal::GetCapturedStderr();
  };
  EXPECT_THAT(told_at(1), HasSubstr("1 lines were dropped: writing: No space left"));
  EXPECT_EQ(told_at(30'000'000), "");
  EXPECT_THAT(told_at(61'000'000), HasSubstr("2 lines were dropped"));
}

TEST_F(AccessLogs, SayWhatCannotBeOpened) {
  settings.access_log = "/nonexistent/log";
  const auto made = AccessLog::create(settings, {});
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code(), ErrorCode::configuration);
  EXPECT_THAT(made.error().message(), HasSubstr("access_log: /nonexistent/log"));
}

class RequestIds : public AccessLogs {
 protected:
  std::string id_seen(std::string_view header) {
    settings.access_log = "off";
    start("combined");
    const auto client = connect();
    application.requests.clear();
    reply = ask(client, "GET / HTTP/1.1\r\nHost: a\r\n" + std::string(header) + "\r\n");
    std::string seen;
    for (const auto& [name, value] : application.requests.at(0).headers)
      if (name == "X-Request-ID" || name == "x-request-id") seen += value + ";";
    return seen;
  }
  std::string reply;
};

TEST_F(RequestIds, AreWhatTheClientSaysWhereNobodyAsked) {
  EXPECT_EQ(id_seen(""), "");
  EXPECT_EQ(id_seen("X-Request-ID: a b\r\n"), "a b;");
}

TEST_F(RequestIds, ComeFromTrustedProxiesAndAreMadeOtherwise) {
  settings.request_id = "environ";
  EXPECT_EQ(id_seen("X-Request-ID: abc-1\r\n"), "abc-1;");
  EXPECT_THAT(id_seen(""), MatchesRegex("[0-9a-f]{32};"));
  EXPECT_THAT(id_seen("X-Request-ID: a b\r\n"), MatchesRegex("[0-9a-f]{32};"));
  EXPECT_THAT(id_seen("X-Request-ID: " + std::string(129, 'a') + "\r\n"),
              MatchesRegex("[0-9a-f]{32};"));
  EXPECT_THAT(reply, Not(HasSubstr("X-Request-ID")));
  settings.forwarded_allow_ips = {"192.0.2.1"};
  EXPECT_THAT(id_seen("X-Request-ID: abc-1\r\nx-request-id: two\r\n"),
              MatchesRegex("[0-9a-f]{32};"));
}

TEST_F(RequestIds, AreInTheReplyWhereAskedUnlessTheApplicationSetsItsOwn) {
  settings.request_id = "reply";
  id_seen("X-Request-ID: abc-1\r\n");
  EXPECT_THAT(reply, HasSubstr("\r\nX-Request-ID: abc-1\r\n"));
  application.answer = [](Exchange& exchange) {
    const Header own{"x-request-id", "mine"};
    if (exchange.start(200, "OK", {&own, 1})) exchange.finish("\n");
  };
  id_seen("X-Request-ID: abc-1\r\n");
  EXPECT_THAT(reply, AllOf(HasSubstr("x-request-id: mine\r\n"), Not(HasSubstr("abc-1"))));
}

TEST_F(RequestIds, AreNotRepeated) {
  RequestIdSource source;
  std::set<std::string> seen;
  std::string id;
  for (int i = 0; i < 1000; ++i) {
    source.next(id);
    EXPECT_TRUE(seen.insert(id).second);
  }
}

}  // namespace
}  // namespace green::http
