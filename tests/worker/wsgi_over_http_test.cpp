// WSGI (PEP 3333) as a client of the real worker sees it, with and without threads. What one call
// does by itself is in tests/python.
#include <gmock/gmock.h>

#include "tests/worker/fake_manager.h"

namespace green {
namespace {

using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

/// What each function of the path's name returns is closed once, as `closes` counts.
constexpr const char* prelude = R"(
import os, sys, threading, time
closes = 0
class Closing:
    def __init__(self, parts): self.parts = iter(parts)
    def __iter__(self): return self
    def __next__(self): return next(self.parts)
    def close(self):
        global closes
        closes += 1
def count(environ, start): start('200 OK', []); return [str(closes).encode()]
def app(environ, start_response):
    return globals()[environ['PATH_INFO'].strip('/')](environ, start_response)
)";

class WsgiOverHttp : public ::testing::TestWithParam<int> {
 protected:
  void serve(std::string_view code) {
    manager_.emplace(prelude + std::string(code));
    manager_->settings.threads = GetParam();
    manager_->start_imported();
    manager_->serve_worker(0);
  }
  /// The reply to bytes that end with a request to close.
  Reply say(const std::string& request) {
    const Fd client = manager_->connect();
    FakeManager::say(client, request);
    return FakeManager::read_reply(client);
  }
  Reply ask(const std::string& method, const std::string& path, const std::string& fields = {},
            const std::string& body = {}) {
    return say(method + " " + path + " HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n" + fields +
               "\r\n" + body);
  }
  Reply get(const std::string& path) { return ask("GET", path); }
  /// close() may run after its reply came.
  bool closes_reach(const std::string& count) {
    return FakeManager::eventually([&] { return get("/count").body == count; });
  }

  std::optional<FakeManager> manager_;
};
INSTANTIATE_TEST_SUITE_P(Threads, WsgiOverHttp, ::testing::Values(1, 4));

TEST_P(WsgiOverHttp, PassesWsgirefValidateWhateverTheRequest) {
  serve(R"(
from wsgiref.validate import validator
def reply(start, parts, length=None):
    headers = [('Content-Type', 'application/octet-stream')]
    if length is not None: headers.append(('Content-Length', str(length)))
    start('200 Fine', headers)
    return parts
def whole(environ, start): return reply(start, [b'hello'], 5)
def echo(environ, start):
    body = environ['wsgi.input'].read(int(environ.get('CONTENT_LENGTH') or 0))
    return reply(start, [body], len(body))
def lines(environ, start):
    stream = environ['wsgi.input']
    first = stream.readline()
    rest = stream.readlines()
    return reply(start, [first] + rest + list(stream))
def parts(environ, start): return reply(start, (b'%d ' % i for i in range(100)))
def written(environ, start):
    write = start('200 OK', [('Content-Type', 'text/plain')])
    write(b'one ')
    return [b'two']
def empty(environ, start):
    start('204 No Content', [])
    return []
def errors(environ, start):
    environ['wsgi.errors'].write('to the log\n')
    environ['wsgi.errors'].writelines(['more\n'])
    environ['wsgi.errors'].flush()
    return reply(start, [b'logged'])
def failed(environ, start):
    try: raise ValueError
    except ValueError: start('500 Failed', [('Content-Type', 'text/plain')], sys.exc_info())
    return [b'sorry']
unvalidated = app
app = validator(lambda environ, start: unvalidated(environ, start))
)");
  const std::string large(3 << 20, 'x');
  const auto length_of = [](const std::string& body) {
    return "Content-Length: " + std::to_string(body.size()) + "\r\n";
  };
  EXPECT_EQ(get("/whole?a=b&c").body, "hello");
  EXPECT_THAT(ask("HEAD", "/whole").head,
              AllOf(StartsWith("HTTP/1.1 200 Fine"), HasSubstr("Content-Length: 5")));
  EXPECT_EQ(ask("HEAD", "/whole").body, "");
  EXPECT_EQ(ask("HEAD", "/parts").body, "");
  EXPECT_EQ(ask("POST", "/echo", length_of("a=1&b=2"), "a=1&b=2").body, "a=1&b=2");
  EXPECT_EQ(
      ask("POST", "/echo", "Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
          .body,
      "abcde");
  EXPECT_EQ(ask("PUT", "/echo", length_of(large), large).body, large);
  EXPECT_EQ(ask("POST", "/echo", "Content-Length: 0\r\n").body, "");
  EXPECT_EQ(say("POST /lines HTTP/1.0\r\nContent-Length: 8\r\n\r\na\nbc\ndef").body, "a\nbc\ndef");
  EXPECT_THAT(say("GET /parts HTTP/1.0\r\n\r\n").body, AllOf(StartsWith("0 1 "), EndsWith("99 ")));
  EXPECT_THAT(get("/parts").body, EndsWith("99 \r\n0\r\n\r\n"));
  EXPECT_EQ(say("GET /written HTTP/1.0\r\n\r\n").body, "one two");
  EXPECT_EQ(get("/empty").status(), 204);
  EXPECT_THAT(get("/errors").body, HasSubstr("logged"));
  EXPECT_THAT(get("/failed").body, HasSubstr("sorry"));
  EXPECT_EQ(get("/whole%20/..").status(), 500) << "no function of that name";
  EXPECT_THAT(manager_->log(), Not(HasSubstr("AssertionError")));
  EXPECT_THAT(manager_->log(), Not(HasSubstr("without being closed")));
  EXPECT_THAT(manager_->log(), AllOf(HasSubstr("warning: to the log\n"), HasSubstr("KeyError")));
}

TEST_P(WsgiOverHttp, ClosesWhatTheApplicationReturnedOnceWhateverBecomesOfIt) {
  serve(R"(
def fine(environ, start): start('200 OK', []); return Closing([b'a', b'b'])
def failing(parts):
    yield b'a'
    raise ValueError
def fails(environ, start): start('200 OK', []); return Closing(failing([]))
def exits(environ, start):
    start('200 OK', [])
    def leave(): yield b'a'; sys.exit(1)
    return Closing(leave())
def text(environ, start): start('200 OK', []); return Closing(['text'])
def silent(environ, start): return Closing([])
def short(environ, start): start('200 OK', [('Content-Length', '9')]); return Closing([b'a'])
def long(environ, start): start('200 OK', [('Content-Length', '1')]); return Closing([b'a', b'b'])
def endless(environ, start):
    start('200 OK', [])
    def forever():
        while True: yield b'x' * 65536
    return Closing(forever())
def unread(environ, start):
    start('200 OK', [])
    def more_than_the_socket_takes():
        for _ in range(100): yield b'x' * 65536
        environ['wsgi.errors'].write('much is written\n')
        while True: yield b'x' * 65536
    return Closing(more_than_the_socket_takes())
)");
  int closed = 0;
  for (const char* path : {"/fine", "/fails", "/exits", "/text", "/silent", "/short", "/long"}) {
    get(path);
    EXPECT_TRUE(closes_reach(std::to_string(++closed))) << path;
  }
  ask("HEAD", "/fine");
  EXPECT_TRUE(closes_reach(std::to_string(++closed))) << "HEAD";
  {
    const Fd client = manager_->connect();
    FakeManager::say(client, "GET /endless HTTP/1.1\r\nHost: shop\r\n\r\n");
  }
  EXPECT_TRUE(closes_reach(std::to_string(++closed))) << "a client that left";
  {
    const Fd client = manager_->connect();
    FakeManager::say(client, "GET /unread HTTP/1.1\r\nHost: shop\r\n\r\n");
    EXPECT_TRUE(manager_->log_shows("much is written"));
  }
  EXPECT_TRUE(closes_reach(std::to_string(++closed))) << "a client that left what it did not read";
}

TEST_P(WsgiOverHttp, SendsNoMoreThanTheDeclaredLengthAndTellsTheApplication) {
  serve(R"(
def long(environ, start):
    write = start('200 OK', [('Content-Length', '3')])
    try: write(b'12345')
    except ValueError as error: environ['wsgi.errors'].write('told: %s\n' % error)
    return []
def long_at_once(environ, start): start('200 OK', [('Content-Length', '3')]); return [b'12345']
)");
  EXPECT_EQ(get("/long").body, "123");
  EXPECT_THAT(manager_->log(), HasSubstr("told: the body is longer than its Content-Length"));
  EXPECT_EQ(get("/long_at_once").body, "123");
}

TEST_P(WsgiOverHttp, CutsTheConnectionAfterLessThanTheDeclaredLength) {
  serve("def short(environ, start): start('200 OK', [('Content-Length', '9')]); return [b'abc']\n");
  const Reply reply = ask("GET", "/short");
  EXPECT_THAT(reply.head, HasSubstr("Content-Length: 9"));
  EXPECT_EQ(reply.body, "abc");
  EXPECT_TRUE(manager_->log_shows("shorter than its Content-Length"));
}

TEST_P(WsgiOverHttp, SendsNoBodyWhereThereIsNone) {
  serve(R"(
def unchanged(environ, start): start('304 Not Modified', [('ETag', '"x"')]); return [b'body']
def nothing(environ, start): start('204 No Content', []); return [b'body']
def streamed(environ, start):
    start(environ['QUERY_STRING'] + ' None', [])
    yield b'bo'
    yield b'dy'
)");
  EXPECT_EQ(get("/unchanged").body, "");
  EXPECT_EQ(get("/nothing").body, "");
  for (const char* status : {"204", "304"}) {
    const Reply reply = get("/streamed?" + std::string(status));
    EXPECT_THAT(reply.head, Not(HasSubstr("Transfer-Encoding")));
    EXPECT_EQ(reply.body, "") << status;
  }
  EXPECT_EQ(ask("HEAD", "/streamed?200").body, "");
}

TEST_P(WsgiOverHttp, SendsEarlyHintsBeforeTheReply) {
  serve(R"(
def page(environ, start):
    environ['wsgi.early_hints']([('Link', '</a.css>; rel=preload')])
    start('200 OK', [])
    return [b'page']
)");
  const Reply reply = get("/page");
  EXPECT_THAT(reply.head, AllOf(StartsWith("HTTP/1.1 103"), HasSubstr("Link: </a.css>")));
  EXPECT_THAT(reply.body, AllOf(StartsWith("HTTP/1.1 200 OK"), EndsWith("page")));
  EXPECT_THAT(say("GET /page HTTP/1.0\r\n\r\n").head, StartsWith("HTTP/1.1 200 OK"));
}

TEST_P(WsgiOverHttp, RefusesWhatWouldForgeAReplyWhileTheApplicationCanMendIt) {
  serve(R"(
def page(environ, start):
    refused = []
    def attempt(status, *headers):
        try: start(status, list(headers))
        except ValueError: refused.append(status + repr(headers))
    for end in '\r\n', '\r', '\n', '\0', '\x7f':
        attempt('200 OK' + end)
        attempt('200 OK', ('X', 'a' + end + 'b'))
        attempt('200 OK', ('X' + end, 'a'))
    attempt('200 OK', ('X Y', 'a'))
    attempt('200 OK', ('X:', 'a'))
    attempt('200 OK', ('', 'a'))
    attempt('200 OK', ('Content-Length', '-1'))
    attempt('200 OK', ('Content-Length', '1'), ('Content-Length', '2'))
    start('200 Fine', [('X', 'mended')])
    return [str(len(set(refused))).encode()]
)");
  const Reply reply = get("/page");
  EXPECT_THAT(reply.head, AllOf(StartsWith("HTTP/1.1 200 Fine\r\n"), HasSubstr("X: mended")));
  EXPECT_EQ(reply.body, "20");
}

TEST_P(WsgiOverHttp, OutlivesEveryWayToLeaveAnApplication) {
  serve(R"(
ways = [SystemExit, KeyboardInterrupt, MemoryError, GeneratorExit, BaseException]
way = lambda environ: ways[int(environ['QUERY_STRING'])]
def call(environ, start): raise way(environ)
def parts(environ, start):
    start('200 OK', [])
    yield b'half'
    raise way(environ)
def close(environ, start):
    start('200 OK', [])
    class Leaving(list):
        def close(self): raise way(environ)
    return Leaving([b'whole'])
def pid(environ, start): start('200 OK', []); return [str(os.getpid()).encode()]
)");
  const std::string pid = get("/pid").body;
  for (int way = 0; way < 5; ++way) {
    const std::string query = "?" + std::to_string(way);
    EXPECT_EQ(get("/call" + query).status(), 500) << way;
    EXPECT_THAT(get("/parts" + query).body,
                AllOf(HasSubstr("half"), Not(EndsWith("\r\n0\r\n\r\n"))))
        << way;
    EXPECT_THAT(get("/close" + query).body, HasSubstr("whole")) << way;
    EXPECT_EQ(get("/pid").body, pid) << way;
  }
}

TEST_P(WsgiOverHttp, SendsAWrappedFileWithinItsDeclaredLength) {
  serve(R"(
def file(environ, start):
    body = open(__file__ + '.data', 'w+b')
    body.write(b'0123456789')
    body.seek(2)
    length = environ['QUERY_STRING']
    start('200 OK', [('Content-Length', length)] if length else [])
    return environ['wsgi.file_wrapper'](body)
)");
  const Reply whole = get("/file");
  EXPECT_THAT(whole.head, HasSubstr("\r\nContent-Length: 8\r\n"));
  EXPECT_EQ(whole.body, "23456789");
  EXPECT_EQ(get("/file?3").body, "234") << "no more than was declared";
  const Reply head = ask("HEAD", "/file");
  EXPECT_THAT(head.head, HasSubstr("\r\nContent-Length: 8\r\n"));
  EXPECT_EQ(head.body, "");
  EXPECT_EQ(get("/file?9").body, "23456789");
  EXPECT_TRUE(manager_->log_shows("shorter than its Content-Length"));
}

TEST_P(WsgiOverHttp, PresentsAChunkedBodyOfAnySizeAsOneOfADeclaredLength) {
  serve(R"(
def shape(environ, start):
    start('200 OK', [])
    body = environ['wsgi.input'].read()
    return [repr((environ['CONTENT_LENGTH'], len(body), environ['wsgi.input_terminated'],
                  sorted(name for name in environ
                         if 'TRANSFER' in name or 'LENGTH' in name or 'TRAILER' in name))).encode()]
)");
  // The second goes to a file.
  for (const auto& [size, hexadecimal] : {std::pair(5, "5"), std::pair(300'000, "493e0")}) {
    const std::string length = std::to_string(size);
    const std::string data(static_cast<std::size_t>(size), 'x');
    EXPECT_EQ(ask("POST", "/shape", "Transfer-Encoding: chunked\r\nTrailer: X-Trailer\r\n",
                  hexadecimal + ("\r\n" + data) + "\r\n0\r\nX-Trailer: 1\r\n\r\n")
                  .body,
              "('" + length + "', " + length + ", True, ['CONTENT_LENGTH', 'HTTP_TRAILER'])");
  }
}

TEST_P(WsgiOverHttp, KeepsRepeatedHeadersCustomReasonsAndLatin1) {
  serve(R"(
def page(environ, start):
    start('299 Fast genug', [('Set-Cookie', 'a=1'), ('Set-Cookie', 'b=2'), ('X-Name', 'caf\xe9')])
    return [b'']
)");
  EXPECT_THAT(get("/page").head, AllOf(StartsWith("HTTP/1.1 299 Fast genug\r\n"),
                                       HasSubstr("Set-Cookie: a=1\r\nSet-Cookie: b=2\r\n"),
                                       HasSubstr("X-Name: caf\xe9")));
}

TEST_P(WsgiOverHttp, TakesHopByHopHeadersOutAndRefusesTransferEncoding) {
  serve(R"(
def hops(environ, start):
    start('200 OK', [('Keep-Alive', 'timeout=99'), ('Upgrade', 'x'), ('Proxy-Connection', 'y')])
    return [b'']
def coding(environ, start): start('200 OK', [('Transfer-Encoding', 'gzip')]); return [b'']
)");
  EXPECT_THAT(get("/hops").head, AllOf(StartsWith("HTTP/1.1 200"), Not(HasSubstr("timeout=99")),
                                       Not(HasSubstr("Upgrade")), Not(HasSubstr("Proxy-"))));
  EXPECT_EQ(get("/coding").status(), 500);
  EXPECT_THAT(manager_->log(), HasSubstr("ValueError"));
}

}  // namespace
}  // namespace green
