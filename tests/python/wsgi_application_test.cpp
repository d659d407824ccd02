#include "python/wsgi_application.h"

#include <gmock/gmock.h>

#include "tests/python/python_fixture.h"
#include "tests/python/recorded_exchange.h"

namespace green::python {
namespace {

namespace py = pybind11;
using http::RecordedExchange;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

/// A site of one function `app`, and what it recorded in its list `log`.
class Site {
 public:
  explicit Site(std::string_view code) : names_(run_python("log = []\n" + std::string(code))) {}

  void call(RecordedExchange& exchange) {
    ::testing::internal::CaptureStderr();
    call_quietly(exchange);
    logged = ::testing::internal::GetCapturedStderr();
    EXPECT_EQ(PyErr_Occurred(), nullptr);
    EXPECT_EQ(exchange.finishes + exchange.aborts, 1) << "answered other than once";
  }
  void call_quietly(RecordedExchange& exchange) {
    application_.call(exchange);
    traceback = last_.take();
  }
  void run(const char* function) { names_[function](); }
  /// A function of this name for the site's code.
  template <class Function>
  void define(const char* name, Function function) {
    names_[name] = py::cpp_function(std::move(function));
  }
  std::string log() { return py::str(names_["log"]).cast<std::string>(); }

  std::string traceback;
  std::string logged;

 private:
  py::dict names_;
  LastTraceback last_;
  WsgiApplication application_{PyRef::borrow(names_["app"].ptr()), {.processes = true}, last_};
};

/// Calls the site once; the reply must be a failure that the log explains by `matcher`.
#define EXPECT_FAILS(code, matcher)                        \
  do {                                                     \
    Site failing(code);                                    \
    RecordedExchange failed("/some?q");                    \
    failing.call(failed);                                  \
    EXPECT_EQ(failed.aborts, 1);                           \
    EXPECT_THAT(failing.logged, matcher);                  \
    EXPECT_THAT(failing.logged, HasSubstr("GET /some: ")); \
    EXPECT_THAT(failing.traceback, matcher);               \
  } while (false)

TEST(WsgiApplication, SendsStatusHeadersAndBody) {
  Site site(R"(
def app(environ, start_response):
    start_response('404 Nicht da', [('X-A', '1'), ('X-A', 'caf\xe9')])
    return [b'hello ', b'world']
)");
  RecordedExchange exchange;
  site.call(exchange);
  EXPECT_EQ(exchange.status, 404);
  EXPECT_EQ(exchange.reason, "Nicht da");
  EXPECT_THAT(exchange.headers, ElementsAre(Pair("X-A", "1"), Pair("X-A", "caf\xe9")));
  EXPECT_EQ(exchange.body, "hello world");
  EXPECT_EQ(exchange.finishes, 1);
  EXPECT_EQ(site.logged, "");
}

TEST(WsgiApplication, GivesAReplyOfOnePartToTheServerWhole) {
  Site site("def app(e, s):\n  s('200 OK', [])\n  return [b'all']\n");
  RecordedExchange exchange;
  site.call(exchange);
  EXPECT_EQ(exchange.body, "all");
  EXPECT_TRUE(exchange.parts.empty()) << "the server could not add Content-Length";
}

TEST(WsgiApplication, SendsEachPartOfAGeneratorAsItComes) {
  Site site(R"(
def app(environ, start_response):
    start_response('200 OK', [])
    yield b'one'
    yield b''
    yield b'two'
)");
  RecordedExchange exchange;
  site.call(exchange);
  EXPECT_THAT(exchange.parts, ElementsAre("one", "two"));
  EXPECT_EQ(exchange.finishes, 1);
}

TEST(WsgiApplication, SendsAPartBeforeItAsksForTheNext) {
  RecordedExchange exchange;
  Site site(R"(
def app(environ, start_response):
    write = start_response('200 OK', [])
    write(b'a')
    log.append(sent())
    for part in (b'', b'\x00\r\n\xff', b'd'):
        yield part
        log.append(sent())
)");
  site.define("sent", [&] { return py::bytes(exchange.body); });
  site.call(exchange);
  EXPECT_EQ(site.log(), R"([b'a', b'a', b'a\x00\r\n\xff', b'a\x00\r\n\xffd'])");
  EXPECT_EQ(exchange.body, std::string_view("a\0\r\n\xff"
                                            "d",
                                            6));
}

TEST(WsgiApplication, HoldsTheHeadUntilTheFirstBytesOfTheBody) {
  RecordedExchange exchange;
  Site site(R"(
import sys
def app(environ, start_response):
    start_response('200 OK', [('X-Old', '1')])
    log.append(head_sent())
    yield b''
    yield b''
    log.append(head_sent())
    try:
        raise ValueError
    except ValueError:
        start_response('503 Later', [('X-New', '1')], sys.exc_info())
    yield b'sorry'
    log.append(head_sent())
)");
  site.define("head_sent", [&] { return exchange.head_sent(); });
  site.call(exchange);
  EXPECT_EQ(site.log(), "[False, False, True]");
  EXPECT_EQ(exchange.status, 503);
  EXPECT_THAT(exchange.headers, ElementsAre(Pair("X-New", "1")));
  EXPECT_EQ(exchange.body, "sorry");
}

TEST(WsgiApplication, ClosesWhatCannotBeIterated) {
  for (const char* iteration : {"def __iter__(self): raise ValueError", "x = 1"}) {
    Site site("class Body:\n  def close(self): log.append('closed')\n  " + std::string(iteration) +
              "\ndef app(e, s):\n  s('200 OK', [])\n  return Body()\n");
    RecordedExchange exchange;
    site.call(exchange);
    EXPECT_EQ(exchange.aborts, 1);
    EXPECT_EQ(site.log(), "['closed']") << iteration;
  }
}

TEST(WsgiApplication, SendsWhatWriteIsGivenBeforeTheRest) {
  Site site(R"(
def app(environ, start_response):
    write = start_response('200 OK', [])
    write(b'first ')
    write(b'second ')
    return (b'third',)
)");
  RecordedExchange exchange;
  site.call(exchange);
  EXPECT_EQ(exchange.body, "first second third");
}

TEST(WsgiApplication, ReadsTheBodyThroughTheEnviron) {
  Site site(R"(
def app(environ, start_response):
    start_response('200 OK', [])
    return [environ['wsgi.input'].read(int(environ['CONTENT_LENGTH']))[::-1]]
)");
  RecordedExchange exchange;
  exchange.add_header("Content-Length", "3");
  ASSERT_TRUE(exchange.request_body.append("abc"));
  site.call(exchange);
  EXPECT_EQ(exchange.body, "cba");
}

TEST(WsgiApplication, LogsAnExceptionAsOneEntryThatNamesTheRequest) {
  EXPECT_FAILS("def app(e, s):\n  raise ValueError('boom')\n",
               AllOf(HasSubstr("Traceback"), HasSubstr("ValueError: boom")));
}

TEST(WsgiApplication, AnswersAnExitOrInterruptOfTheApplicationAsAFailure) {
  EXPECT_FAILS("import sys\ndef app(e, s):\n  sys.exit(3)\n", HasSubstr("SystemExit: 3"));
  EXPECT_FAILS("def app(e, s):\n  raise KeyboardInterrupt\n", HasSubstr("KeyboardInterrupt"));
  EXPECT_FAILS("def app(e, s):\n  raise MemoryError\n", HasSubstr("MemoryError"));
}

TEST(WsgiApplication, ExplainsWrongStatuses) {
  EXPECT_FAILS("def app(e, s):\n  s(200, [])\n", HasSubstr("status must be a str"));
  EXPECT_FAILS("def app(e, s):\n  s(b'200 OK', [])\n", HasSubstr("status must be a str"));
  for (const char* status : {"", "20", "abc", "2000 OK", "200OK", "-10 x", "200 \\u20ac"})
    EXPECT_FAILS("def app(e, s):\n  s('" + std::string(status) + "', [])\n  return []\n",
                 HasSubstr("bad status"));
  EXPECT_FAILS("def app(e, s):\n  s('101 Switching', [])\n", HasSubstr("does not end a request"));
}

TEST(WsgiApplication, ExplainsWrongHeaders) {
  EXPECT_FAILS("def app(e, s):\n  s('200 OK', {'a': 'b'})\n", HasSubstr("headers must be a list"));
  EXPECT_FAILS("def app(e, s):\n  s('200 OK', [('a',)])\n",
               HasSubstr("must be a (name, value) tuple"));
  EXPECT_FAILS("def app(e, s):\n  s('200 OK', [('a', 1)])\n",
               HasSubstr("value must be a str, not int"));
  EXPECT_FAILS("def app(e, s):\n  s('200 OK', [(b'a', 'b')])\n", HasSubstr("name must be a str"));
  EXPECT_FAILS("def app(e, s):\n  s('200 OK', [('a', '\\u20ac')])\n", HasSubstr("outside latin-1"));
  EXPECT_FAILS("def app(e, s):\n  s('200 OK', [('a', 'b\\r\\nSet-Cookie: x')])\n",
               HasSubstr("ValueError: a header's value holds a line break"));
}

TEST(WsgiApplication, ExplainsWrongCallsOfStartResponse) {
  EXPECT_FAILS("def app(e, s):\n  s('200 OK')\n", HasSubstr("takes a status and a list"));
  EXPECT_FAILS("def app(e, s):\n  s('200 OK', [], None, 4)\n", HasSubstr("2 or 3 arguments"));
  EXPECT_FAILS("def app(e, s):\n  s('200 OK', [], colour=1)\n",
               HasSubstr("unexpected argument 'colour'"));
  EXPECT_FAILS("def app(e, s):\n  s('200 OK', [], exc_info='x')\n", HasSubstr("sys.exc_info()"));
  EXPECT_FAILS("def app(e, s):\n  s('200 OK', [])\n  s('200 OK', [])\n",
               HasSubstr("called before"));
  EXPECT_FAILS("def app(e, s):\n  return [b'x']\n", HasSubstr("before it called start_response"));
  EXPECT_FAILS("def app(e, s):\n  return []\n", HasSubstr("without a call of start_response"));
}

TEST(WsgiApplication, ExplainsWrongBodies) {
  EXPECT_FAILS("def app(e, s):\n  s('200 OK', [])\n  return ['text']\n",
               HasSubstr("made of bytes, not str"));
  EXPECT_FAILS("def app(e, s):\n  s('200 OK', [])\n  return 'text'\n",
               HasSubstr("iterable of bytes"));
  EXPECT_FAILS("def app(e, s):\n  s('200 OK', [])\n  return b'text'\n",
               HasSubstr("iterable of bytes"));
  EXPECT_FAILS("def app(e, s):\n  s('200 OK', [])\n  return None\n", HasSubstr("not iterable"));
  EXPECT_FAILS("def app(e, s):\n  s('200 OK', [])('text')\n", HasSubstr("made of bytes, not str"));
  EXPECT_FAILS("def app(e, s):\n  s('200 OK', [])\n  yield 3\n",
               HasSubstr("made of bytes, not int"));
}

TEST(WsgiApplication, ReplacesAReplyThatWasNotSentYetWhenGivenExcInfo) {
  Site site(R"(
import sys
def app(environ, start_response):
    start_response('200 OK', [])
    try:
        raise ValueError
    except ValueError:
        start_response('500 Oops', [('X-Error', '1')], sys.exc_info())
    return [b'sorry']
)");
  RecordedExchange exchange;
  site.call(exchange);
  EXPECT_EQ(exchange.status, 500);
  EXPECT_EQ(exchange.body, "sorry");
}

TEST(WsgiApplication, RaisesExcInfoAgainOnceTheReplyIsOnItsWay) {
  Site site(R"(
import sys
def app(environ, start_response):
    start_response('200 OK', [])
    yield b'half'
    try:
        raise ValueError('too late')
    except ValueError:
        start_response('500 Oops', [], exc_info=sys.exc_info())
    log.append('not reached')
)");
  RecordedExchange exchange;
  site.call(exchange);
  EXPECT_EQ(exchange.status, 200);
  EXPECT_EQ(exchange.aborts, 1);
  EXPECT_THAT(site.traceback, HasSubstr("ValueError: too late"));
  EXPECT_EQ(site.log(), "[]");
}

constexpr const char* closing_body = R"(
class Body:
    def __init__(self, parts): self.parts = iter(parts)
    def __iter__(self): return self
    def __next__(self): return next(self.parts)
    def close(self): log.append('closed')
)";

TEST(WsgiApplication, ClosesTheBodyOnceAfterTheReply) {
  Site site(std::string(closing_body) + R"(
def app(environ, start_response):
    start_response('200 OK', [])
    return Body([b'a', b'b'])
)");
  RecordedExchange exchange;
  site.call(exchange);
  EXPECT_EQ(exchange.finishes, 1);
  EXPECT_EQ(site.log(), "['closed']");
}

TEST(WsgiApplication, ClosesTheBodyOnceWhenItFailsOrTheClientIsGone) {
  Site failing(std::string(closing_body) + R"(
def parts():
    yield b'a'
    raise ValueError
def app(environ, start_response):
    start_response('200 OK', [])
    return Body(parts())
)");
  RecordedExchange exchange;
  failing.call(exchange);
  EXPECT_EQ(failing.log(), "['closed']");
  Site gone(std::string(closing_body) + R"(
def app(environ, start_response):
    start_response('200 OK', [])
    return Body([b'a'] * 1000)
)");
  RecordedExchange without_client;
  without_client.gone = true;
  gone.call(without_client);
  EXPECT_EQ(gone.log(), "['closed']");
  EXPECT_EQ(gone.logged, "") << "a client that left is no error of the application";
}

TEST(WsgiApplication, ClosesAGeneratorThatItDoesNotFinish) {
  Site site(R"(
def app(environ, start_response):
    start_response('200 OK', [])
    try:
        yield b'a'
        yield 'text'
        log.append('not reached')
    except GeneratorExit:
        log.append('exit')
        raise
    finally:
        log.append('finally')
)");
  RecordedExchange exchange;
  site.call(exchange);
  EXPECT_EQ(exchange.aborts, 1);
  EXPECT_EQ(site.log(), "['exit', 'finally']");
}

TEST(WsgiApplication, AnswersThoughCloseExits) {
  Site site(R"(
import sys
class Body:
    def __iter__(self): return iter([b'a'])
    def close(self): sys.exit(1)
def app(environ, start_response):
    start_response('200 OK', [])
    return Body()
)");
  RecordedExchange exchange;
  site.call(exchange);
  EXPECT_EQ(exchange.finishes, 1);
  EXPECT_THAT(site.logged, HasSubstr("SystemExit: 1"));
}

TEST(WsgiApplication, LetsAnApplicationStartItsReplyAsLateAsWithTheFirstPart) {
  Site site(R"(
class Late:
    def __init__(self, start): self.start, self.parts = start, [b'a', b'b']
    def __iter__(self): return self
    def __next__(self):
        if not self.parts: raise StopIteration
        if len(self.parts) == 2: self.start('201 Created', [])
        return self.parts.pop(0)
def app(environ, start_response): return Late(start_response)
)");
  RecordedExchange exchange;
  site.call(exchange);
  EXPECT_EQ(exchange.status, 201);
  EXPECT_EQ(exchange.body, "ab");
}

TEST(WsgiApplication, LetsAnApplicationTryAgainAfterAReplyThatWasRefused) {
  Site site(R"(
def app(environ, start_response):
    for headers in ([('X', 'a\r\nb')], [('X', 1)], [('X', 'fine')]):
        try: start_response('200 OK', headers)
        except (TypeError, ValueError) as error: log.append(type(error).__name__)
    return [b'']
)");
  RecordedExchange exchange;
  site.call(exchange);
  EXPECT_EQ(site.log(), "['ValueError', 'TypeError']");
  EXPECT_THAT(exchange.headers, ElementsAre(Pair("X", "fine")));
}

TEST(WsgiApplication, TakesNoneForExcInfo) {
  Site site("def app(e, s):\n  s('200 OK', [], None)\n  return [b'x']\n");
  RecordedExchange exchange;
  site.call(exchange);
  EXPECT_EQ(exchange.body, "x");
}

TEST(WsgiApplication, RaisesExcInfoWithItsTracebackAndKeepsNoHoldOfIt) {
  Site site(R"(
import gc, sys, weakref
class Boom(Exception): pass
def app(environ, start_response):
    start_response('200 OK', [])(b'sent')
    try:
        raise Boom('first')
    except Boom as error:
        log.append(weakref.ref(error))
        info = sys.exc_info()
    try:
        start_response('500 Oops', [], info)
    except Boom as error:
        log.append(error is info[1] and error.__traceback__.tb_next is not None)
    del info
    return []
def held():
    gc.collect()
    log[0] = log[0]() is not None
)");
  RecordedExchange exchange;
  site.call(exchange);
  site.run("held");
  EXPECT_EQ(site.log(), "[False, True]");
}

TEST(WsgiApplication, AnswersAFailureInTheMiddleOfABodyByCuttingIt) {
  for (const char* raised : {"SystemExit", "KeyboardInterrupt", "MemoryError", "GeneratorExit"}) {
    Site site("def app(e, s):\n  s('200 OK', [])\n  yield b'half'\n  raise " + std::string(raised) +
              "\n");
    RecordedExchange exchange;
    site.call(exchange);
    EXPECT_EQ(exchange.aborts, 1);
    EXPECT_THAT(site.traceback, HasSubstr(raised));
  }
}

TEST(WsgiApplication, LogsAnErrorOfCloseButAnswers) {
  Site site(R"(
class Body(list):
    def close(self): raise ValueError('in close')
def app(environ, start_response):
    start_response('200 OK', [])
    return Body([b'a'])
)");
  RecordedExchange exchange;
  site.call(exchange);
  EXPECT_EQ(exchange.finishes, 1);
  EXPECT_EQ(exchange.body, "a");
  EXPECT_THAT(site.logged, AllOf(HasSubstr("close()"), HasSubstr("ValueError: in close")));
}

TEST(WsgiApplication, RefusesCallsAfterTheRequestWasAnswered) {
  Site site(R"(
kept = []
def app(environ, start_response):
    write = start_response('200 OK', [])
    kept[:] = [environ['wsgi.input'].read, lambda: start_response('200 OK', []), lambda: write(b'x')]
    return [b'a']
def late():
    for call in kept:
        try:
            call()
        except Exception as error:
            log.append(type(error).__name__)
)");
  RecordedExchange exchange;
  site.call(exchange);
  EXPECT_EQ(exchange.body, "a");
  site.run("late");
  EXPECT_EQ(site.log(), "['ValueError', 'RuntimeError', 'RuntimeError']");
}

TEST(WsgiApplication, KeepsWhatAnEarlierRequestWasGivenOutOfALaterOne) {
  Site site(R"(
kept = []
def app(environ, start_response):
    for old_start, old_write, old_environ in kept[:2]:
        for late in (lambda: old_write(b'late'), lambda: old_start('500 Late', []),
                     lambda: old_environ['wsgi.input'].read()):
            try:
                late()
            except (RuntimeError, ValueError) as error:
                log.append(type(error).__name__)
    write = start_response('200 OK', [('X-N', str(len(kept)))])
    if environ['PATH_INFO'] == '/keep':
        kept.append((start_response, write, environ))
    return [b'own']
)");
  for (int i = 0; i < 6; ++i) {
    RecordedExchange exchange(i % 2 == 0 ? "/keep" : "/forget");
    site.call(exchange);
    EXPECT_EQ(exchange.status, 200);
    EXPECT_EQ(exchange.body, "own");
    EXPECT_THAT(exchange.headers, ElementsAre(Pair("X-N", std::to_string((i + 1) / 2))));
  }
  // Of none, one, one, and thrice two.
  std::string expected = "[";
  for (int i = 0; i < 8; ++i) expected += "'RuntimeError', 'RuntimeError', 'ValueError', ";
  expected.replace(expected.size() - 2, 2, "]");
  EXPECT_EQ(site.log(), expected);
}

TEST(WsgiApplication, LeaksNothing) {
  Site site(R"(
def app(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return iter([environ['wsgi.input'].read(), b'x'])
)");
  const auto blocks = [] {
    return py::module_::import("sys").attr("getallocatedblocks")().cast<long>();
  };
  const auto call_many = [&site](int times) {
    for (int i = 0; i < times; ++i) {
      RecordedExchange exchange("/path%20x");
      exchange.add_header("X-Header-Name", "v");
      site.call_quietly(exchange);
    }
  };
  call_many(100);
  const long before = blocks();
  call_many(2000);
  EXPECT_LT(blocks() - before, 100);
}

TEST(WsgiApplication, PassesWsgirefValidate) {
  Site site(R"(
from wsgiref.validate import validator
@validator
def app(environ, start_response):
    body = environ['wsgi.input'].read(3) + environ['wsgi.input'].readline()
    list(environ['wsgi.input'])
    start_response('200 OK', [('Content-Type', 'text/plain'), ('Content-Length', str(len(body)))])
    return [body]
)");
  RecordedExchange exchange("/path?query=1");
  exchange.add_header("Host", "example.org");
  exchange.add_header("Content-Length", "11");
  ASSERT_TRUE(exchange.request_body.append("hello\nworld"));
  site.call(exchange);
  EXPECT_EQ(site.traceback, "");
  EXPECT_EQ(exchange.body, "hello\n");
}

TEST(WsgiApplication, SendsOfAListWhatThereIsWhenItComesToIt) {
  // Another thread has it too: a write may wait without the GIL.
  Site site(
      "parts = [b'a' * 1000, b'b' * 1000, b'c' * 1000]\n"
      "def app(e, s):\n  s('200 OK', [])\n  return parts\n"
      "def shrink(): parts.clear()\n");
  RecordedExchange exchange;
  exchange.on_write = [&site] { site.run("shrink"); };
  site.call(exchange);
  EXPECT_EQ(exchange.body, std::string(1000, 'a'));
  EXPECT_EQ(exchange.finishes, 1);
}

}  // namespace
}  // namespace green::python
