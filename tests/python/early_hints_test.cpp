#include "python/early_hints.h"

#include <gmock/gmock.h>

#include "python/wsgi_application.h"
#include "tests/python/python_fixture.h"
#include "tests/python/recorded_exchange.h"

namespace green::python {
namespace {

namespace py = pybind11;
using http::RecordedExchange;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

/// The traceback of an application of this code, or "".
std::string call(std::string_view code, RecordedExchange& exchange) {
  const py::dict names = run_python(code);
  LastTraceback last;
  WsgiApplication application(PyRef::borrow(names["app"].ptr()), {}, last);
  application.call(exchange);
  return last.take();
}

TEST(EarlyHints, AreSentBeforeTheReply) {
  RecordedExchange exchange;
  EXPECT_EQ(call(R"(
def app(environ, start_response):
    environ['wsgi.early_hints']([('Link', '</a.css>; rel=preload'), ('X-A', '1')])
    environ['wsgi.early_hints']([('Link', '</b.css>; rel=preload')])
    start_response('200 OK', [])
    return [b'page']
)",
                 exchange),
            "");
  EXPECT_THAT(
      exchange.interims,
      ElementsAre(Pair(103, ElementsAre(Pair("Link", "</a.css>; rel=preload"), Pair("X-A", "1"))),
                  Pair(103, ElementsAre(Pair("Link", "</b.css>; rel=preload")))));
  EXPECT_EQ(exchange.status, 200);
  EXPECT_EQ(exchange.body, "page");
}

TEST(EarlyHints, AreRefusedOnceTheReplyIsOnItsWay) {
  RecordedExchange exchange;
  EXPECT_THAT(call(R"(
def app(environ, start_response):
    start_response('200 OK', [])(b'half')
    environ['wsgi.early_hints']([('Link', '<x>')])
)",
                   exchange),
              HasSubstr("ValueError: the reply's head was sent already"));
}

TEST(EarlyHints, AreAListOfHeaders) {
  for (const auto& [argument, error] :
       {std::pair("{'Link': 'x'}", "wsgi.early_hints: the headers must be a list"),
        std::pair("[('Link', b'x')]", "wsgi.early_hints: a header's value must be a str"),
        std::pair("['Link']", "wsgi.early_hints: a header must be a (name, value) tuple")}) {
    RecordedExchange exchange;
    EXPECT_THAT(
        call("def app(e, s):\n  e['wsgi.early_hints'](" + std::string(argument) + ")\n", exchange),
        HasSubstr(error));
    EXPECT_TRUE(exchange.interims.empty());
  }
}

TEST(EarlyHints, AreRefusedOnAThreadThatAnswersNoRequest) {
  RecordedExchange exchange;
  EXPECT_EQ(call(R"(
import threading
def app(environ, start_response):
    raised = []
    def hint():
        try: environ['wsgi.early_hints']([])
        except RuntimeError as error: raised.append(str(error))
    thread = threading.Thread(target=hint)
    thread.start()
    thread.join()
    start_response('200 OK', [])
    return [raised[0].encode()]
)",
                 exchange),
            "");
  EXPECT_THAT(exchange.body, HasSubstr("answers no request"));
}

}  // namespace
}  // namespace green::python
