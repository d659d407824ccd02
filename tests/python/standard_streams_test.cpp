#include "python/standard_streams.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>
#include <utility>
#include <vector>

#include "common/journal_socket.h"
#include "common/log.h"
#include "tests/common/fake_journal.h"
#include "tests/python/python_fixture.h"

namespace green::python {
namespace {

namespace py = pybind11;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

/// Standard output and error are what JOURNAL_STREAM names, and the journal's socket a fake's.
class StandardStreams : public ::testing::Test {
 protected:
  void SetUp() override {
    kept_output_.reset(::dup(STDOUT_FILENO));
    ASSERT_GE(::dup2(STDERR_FILENO, STDOUT_FILENO), 0);
    struct stat status{};
    ASSERT_EQ(::fstat(STDERR_FILENO, &status), 0);
    ::setenv("JOURNAL_STREAM", fmt::format("{}:{}", status.st_dev, status.st_ino).c_str(), 1);
    log_set_journal_path(journal_.path());
    log_open({.identifier = "test", .site = "shop", .generation = "3", .worker = "1"},
             LogLevel::error);
    log_standard_streams();
  }
  void TearDown() override {
    run_python(
        "import sys, threading\nsys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__\n"
        "threading.excepthook = threading.__excepthook__");
    ::unsetenv("JOURNAL_STREAM");
    log_set_journal_path(JournalSocket::default_path);
    log_open({.identifier = "green", .site = {}}, LogLevel::info);
    ::dup2(kept_output_.get(), STDOUT_FILENO);
  }

  /// The entries that `code` makes, without the fields that all have.
  std::vector<std::string> logged_by(std::string_view code) {
    run_python("import sys\n" + std::string(code));
    std::vector<std::string> entries;
    for (std::string entry = journal_.take(); !entry.empty(); entry = journal_.take()) {
      const std::string common = "SYSLOG_IDENTIFIER=test\nSITE=shop\nGENERATION=3\nWORKER=1\n";
      const auto at = entry.find(common);
      EXPECT_NE(at, std::string::npos) << entry;
      if (at != std::string::npos) entry.erase(at, common.size());
      entries.push_back(std::move(entry));
    }
    return entries;
  }

  FakeJournal journal_;
  Fd kept_output_;
};

TEST_F(StandardStreams, AreInfoForOutputAndWarningForErrors) {
  EXPECT_THAT(logged_by("print('one', 2)\nprint('three', file=sys.stderr)"),
              ::testing::ElementsAre("PRIORITY=6\nMESSAGE=one 2\n", "PRIORITY=4\nMESSAGE=three\n"));
}

TEST_F(StandardStreams, TakeALevelFromALinesPrefix) {
  EXPECT_THAT(
      logged_by("print('<3>bad')\nprint('<9>other')"),
      ::testing::ElementsAre("PRIORITY=3\nMESSAGE=bad\n", "PRIORITY=6\nMESSAGE=<9>other\n"));
}

TEST_F(StandardStreams, KnowTheRecordThatALoggingHandlerWrites) {
  const auto entries = logged_by(R"(
import logging
logger = logging.Logger('shop.cart')
logger.addHandler(logging.StreamHandler())
def sell():
  logger.debug('d'); logger.info('i'); logger.warning('w'); logger.error('e'); logger.critical('c')
sell())");
  ASSERT_EQ(entries.size(), 5U);
  for (const auto& [number, begins] : {std::pair{0, "PRIORITY=7\nMESSAGE=d\n"},
                                       {1, "PRIORITY=6\nMESSAGE=i\n"},
                                       {2, "PRIORITY=4\nMESSAGE=w\n"},
                                       {3, "PRIORITY=3\nMESSAGE=e\n"},
                                       {4, "PRIORITY=2\nMESSAGE=c\n"}})
    EXPECT_THAT(
        entries[static_cast<std::size_t>(number)],
        AllOf(StartsWith(begins), HasSubstr("LOGGER=shop.cart\nCODE_FILE=<string>\nCODE_LINE="),
              HasSubstr("CODE_FUNC=sell\n")));
}

TEST_F(StandardStreams, KnowTheLevelWhereNobodyHasSetUpLogging) {
  const auto entries = logged_by("import logging\nlogging.getLogger('bare').error('e')");
  ASSERT_EQ(entries.size(), 1U);
  EXPECT_THAT(entries[0], AllOf(StartsWith("PRIORITY=3\nMESSAGE=e\n"), HasSubstr("LOGGER=bare\n")));
}

TEST_F(StandardStreams, KeepALoggedTracebackWhole) {
  const auto entries = logged_by(R"(
import logging
try: raise ValueError('boom')
except ValueError: logging.getLogger('bare').exception('failed'))");
  ASSERT_EQ(entries.size(), 1U);
  EXPECT_THAT(entries[0], AllOf(HasSubstr("failed\nTraceback"), HasSubstr("ValueError: boom")));
}

TEST_F(StandardStreams, AreNotMisledByAnotherFunctionNamedEmit) {
  EXPECT_THAT(
      logged_by(R"(
def emit(record): print('a')
emit('b')
class Odd: levelno = 10 ** 30
emit(Odd())
def other():
  def emit(): print('c')
  emit()
other())"),
      ::testing::ElementsAre("PRIORITY=6\nMESSAGE=a\n", ::testing::_, "PRIORITY=6\nMESSAGE=c\n"));
}

TEST_F(StandardStreams, HaveWarningsAsWarnings) {
  const auto entries =
      logged_by("import warnings\nwarnings.simplefilter('always')\nwarnings.warn('old')");
  ASSERT_EQ(entries.size(), 1U);
  EXPECT_THAT(entries[0], AllOf(StartsWith("PRIORITY=4\n"), HasSubstr("UserWarning: old")));
}

TEST_F(StandardStreams, DoNotMixTheLinesOfThreads) {
  EXPECT_THAT(
      logged_by(R"(
import threading
print('mine: ', end='')
thread = threading.Thread(target=lambda: print('theirs'))
thread.start(); thread.join()
print('whole'))"),
      ::testing::ElementsAre("PRIORITY=6\nMESSAGE=theirs\n", "PRIORITY=6\nMESSAGE=mine: whole\n"));
}

TEST_F(StandardStreams, HaveAnUncaughtExceptionOfAThreadAsOneError) {
  const auto entries = logged_by(R"(
import threading
def fail(how):
  raise how
for how in ValueError('boom'), SystemExit(3):
  thread = threading.Thread(target=fail, args=(how,), name='poller')
  thread.start(); thread.join())");
  ASSERT_EQ(entries.size(), 1U);
  EXPECT_THAT(entries[0],
              AllOf(StartsWith("PRIORITY=3\n"), HasSubstr("Exception in thread poller:\nTraceback"),
                    HasSubstr("in fail"), HasSubstr("ValueError: boom")));
}

TEST_F(StandardStreams, LeaveAnUncaughtExceptionToAStreamOfTheApplications) {
  EXPECT_THAT(logged_by(R"(
import io, threading
kept, sys.stderr = sys.stderr, io.StringIO()
thread = threading.Thread(target=lambda: 1 / 0)
thread.start(); thread.join()
kept, sys.stderr = sys.stderr, kept
assert 'ZeroDivisionError' in kept.getvalue())"),
              ::testing::IsEmpty());
}

TEST_F(StandardStreams, HoldALineUntilItsEndOrAFlush) {
  EXPECT_THAT(logged_by("print('a', end='')\nprint('b', end='', flush=True)\nprint('c\\nd\\n')"),
              ::testing::ElementsAre("PRIORITY=6\nMESSAGE=ab\n", HasSubstr("c\nd\n")));
  EXPECT_THAT(logged_by("print()"), ::testing::IsEmpty());
}

TEST_F(StandardStreams, CannotForgeAField) {
  const auto entries = logged_by("print('a\\nPRIORITY=0\\n\\x1b[31m')");
  ASSERT_EQ(entries.size(), 1U);
  EXPECT_THAT(entries[0],
              AllOf(StartsWith(std::string("PRIORITY=6\nMESSAGE\n\x15\0\0\0\0\0\0\0", 27)),
                    HasSubstr("a\nPRIORITY=0\n\\x1b[31m\n")));
}

TEST_F(StandardStreams, AreStreamsAsPythonHasThem) {
  EXPECT_THAT(logged_by(R"(
assert sys.stdout.fileno() == 1 and sys.stderr.fileno() == 2
assert sys.stdout.name == '<stdout>' and sys.stdout.encoding == 'utf-8'
assert not sys.stdout.isatty() and sys.stdout.writable() and not sys.stdout.readable()
sys.stdout.buffer.write(b'bytes\n')
sys.stdout.write('caf\xe9 \udcff\n')
sys.stdout.reconfigure(line_buffering=True)
try: sys.stdout.buffer.write('text')
except TypeError: pass
else: raise AssertionError
import faulthandler
faulthandler.dump_traceback_later(60, file=sys.stderr); faulthandler.cancel_dump_traceback_later())"),
              ::testing::ElementsAre("PRIORITY=6\nMESSAGE=bytes\n",
                                     "PRIORITY=6\nMESSAGE=caf\xc3\xa9 \\udcff\n"));
}

TEST_F(StandardStreams, NeverWaitForAJournalThatHasStopped) {
  const auto entries = logged_by("for i in range(20000): print(i)");
  EXPECT_LT(entries.size(), 20'000U);
  EXPECT_THAT(logged_by("print('after')"), ::testing::ElementsAre(HasSubstr("messages were lost"),
                                                                  "PRIORITY=6\nMESSAGE=after\n"));
}

TEST(StandardStreamsElsewhere, StayAsTheyAre) {
  log_standard_streams();
  run_python("import sys\nassert sys.stdout is sys.__stdout__ and sys.stderr is sys.__stderr__");
}

}  // namespace
}  // namespace green::python
