#include "python/wsgi_environ.h"

#include <gmock/gmock.h>

#include <random>

#include "tests/python/python_fixture.h"
#include "tests/python/recorded_exchange.h"

namespace green::python {
namespace {

namespace py = pybind11;
using http::RecordedExchange;

py::dict environ_of(const RecordedExchange& exchange) {
  WsgiEnviron environ({.processes = true, .threads = false});
  auto first =
      py::reinterpret_steal<py::dict>(environ.build(exchange.request(), Py_None).release());
  // Whatever is kept from request to request: the same request has the same environ.
  for (int i = 0; i < 4; ++i) {
    const auto again =
        py::reinterpret_steal<py::dict>(environ.build(exchange.request(), Py_None).release());
    EXPECT_TRUE(again.equal(first));
  }
  return first;
}

bool give_back(WsgiEnviron& environ, py::dict dict) {
  return environ.give_back(PyRef::steal(dict.release().ptr()));
}

std::string text(const py::dict& environ, const char* key) {
  if (!environ.contains(key)) return "(none)";
  // As WSGI has it: text whose characters are bytes.
  return environ[key].attr("encode")("latin-1").cast<std::string>();
}

TEST(WsgiEnviron, HoldsTheRequestLine) {
  RecordedExchange exchange("/a%20b/%E2%82%AC%2f%zz%?x=%20&y");
  exchange.values.method = "PROPFIND";
  exchange.values.version_minor = 0;
  const py::dict environ = environ_of(exchange);
  EXPECT_EQ(text(environ, "REQUEST_METHOD"), "PROPFIND");
  EXPECT_EQ(text(environ, "SCRIPT_NAME"), "");
  EXPECT_EQ(text(environ, "PATH_INFO"), "/a b/\xe2\x82\xac/%zz%");
  EXPECT_EQ(text(environ, "QUERY_STRING"), "x=%20&y");
  EXPECT_EQ(text(environ, "RAW_URI"), "/a%20b/%E2%82%AC%2f%zz%?x=%20&y");
  EXPECT_EQ(text(environ, "SERVER_PROTOCOL"), "HTTP/1.0");
}

TEST(WsgiEnviron, HasNoPathWhereTheWholeServerIsMeant) {
  const py::dict environ = environ_of(RecordedExchange("*"));
  EXPECT_EQ(text(environ, "PATH_INFO"), "");
  EXPECT_EQ(text(environ, "RAW_URI"), "*");
}

TEST(WsgiEnviron, SplitsThePathAtScriptName) {
  WsgiEnviron environ({.processes = true, .threads = false}, "/shop/\xc3\xa9");
  const auto parts_of = [&environ](const char* target) {
    const RecordedExchange exchange{std::string(target)};
    if (!environ.is_mounted(exchange.request())) return std::string("(elsewhere)");
    const auto built =
        py::reinterpret_steal<py::dict>(environ.build(exchange.request(), Py_None).release());
    return text(built, "SCRIPT_NAME") + "|" + text(built, "PATH_INFO");
  };
  EXPECT_EQ(parts_of("/shop/%C3%A9/cart?x"), "/shop/\xc3\xa9|/cart");
  EXPECT_EQ(parts_of("/sho%70/%c3%a9/%2fa"), "/shop/\xc3\xa9|//a");
  EXPECT_EQ(parts_of("/shop/%C3%A9"), "/shop/\xc3\xa9|");
  EXPECT_EQ(parts_of("/shop/%C3%A9/"), "/shop/\xc3\xa9|/");
  EXPECT_EQ(parts_of("*"), "/shop/\xc3\xa9|");
  for (const char* target : {"/", "/shop", "/shop/%C3%A9x", "/SHOP/%C3%A9/", "/other"})
    EXPECT_EQ(parts_of(target), "(elsewhere)") << target;
}

TEST(WsgiEnviron, HoldsBothEndsOfATcpConnection) {
  const py::dict environ = environ_of(RecordedExchange());
  EXPECT_EQ(text(environ, "SERVER_NAME"), "127.0.0.1");
  EXPECT_EQ(text(environ, "SERVER_PORT"), "8000");
  EXPECT_EQ(text(environ, "REMOTE_ADDR"), "192.0.2.7");
  EXPECT_EQ(text(environ, "REMOTE_PORT"), "4711");
}

TEST(WsgiEnviron, HasTheSchemeOfTheRequest) {
  RecordedExchange exchange;
  EXPECT_EQ(text(environ_of(exchange), "wsgi.url_scheme"), "http");
  exchange.values.scheme = "https";
  EXPECT_EQ(text(environ_of(exchange), "wsgi.url_scheme"), "https");
}

TEST(WsgiEnviron, NamesTheServerAfterTheHostHeaderOnAUnixSocket) {
  RecordedExchange exchange;
  exchange.endpoints = {
      .remote_address = "", .remote_port = "", .local_address = "/run/x.sock", .local_port = ""};
  EXPECT_EQ(text(environ_of(exchange), "SERVER_NAME"), "localhost");
  EXPECT_EQ(text(environ_of(exchange), "SERVER_PORT"), "80");
  exchange.add_header("Host", "[::1]:8080");
  const py::dict environ = environ_of(exchange);
  EXPECT_EQ(text(environ, "SERVER_NAME"), "[::1]");
  EXPECT_EQ(text(environ, "SERVER_PORT"), "8080");
  EXPECT_EQ(text(environ, "REMOTE_ADDR"), "");
  EXPECT_EQ(text(environ, "REMOTE_PORT"), "(none)");
}

TEST(WsgiEnviron, NamesHeadersAndDecodesTheirValuesAsLatin1) {
  RecordedExchange exchange;
  exchange.add_header("X-Thing", "caf\xe9");
  exchange.add_header("content-TYPE", "text/plain; x=caf\xe9");
  const py::dict environ = environ_of(exchange);
  EXPECT_EQ(environ["HTTP_X_THING"].cast<std::string>(), "caf\xc3\xa9");
  EXPECT_EQ(text(environ, "CONTENT_TYPE"), "text/plain; x=caf\xe9");
  EXPECT_FALSE(environ.contains("HTTP_CONTENT_TYPE"));
}

TEST(WsgiEnviron, JoinsRepeatedHeaders) {
  RecordedExchange exchange;
  for (const char* value : {"a", "a", "b"}) exchange.add_header("X-Thing", value);
  exchange.add_header("Cookie", "a=1");
  exchange.add_header("x-thing", "c");
  exchange.add_header("COOKIE", "b=2");
  const py::dict environ = environ_of(exchange);
  EXPECT_EQ(text(environ, "HTTP_X_THING"), "a,a,b,c");
  EXPECT_EQ(text(environ, "HTTP_COOKIE"), "a=1; b=2");
}

TEST(WsgiEnviron, PresentsAChunkedBodyWithItsLength) {
  RecordedExchange exchange;
  exchange.add_header("Transfer-Encoding", "chunked");
  ASSERT_TRUE(exchange.request_body.append("hello"));
  const py::dict environ = environ_of(exchange);
  EXPECT_EQ(text(environ, "CONTENT_LENGTH"), "5");
  EXPECT_FALSE(environ.contains("HTTP_TRANSFER_ENCODING"));
  EXPECT_TRUE(environ["wsgi.input_terminated"].cast<bool>());
}

TEST(WsgiEnviron, SaysTheLengthOfABodyUnderItsOwnNameAlone) {
  RecordedExchange exchange;
  exchange.add_header("content-LENGTH", "005");
  ASSERT_TRUE(exchange.request_body.append("hello"));
  const py::dict environ = environ_of(exchange);
  EXPECT_EQ(text(environ, "CONTENT_LENGTH"), "5");
  EXPECT_FALSE(environ.contains("HTTP_CONTENT_LENGTH"));
}

TEST(WsgiEnviron, HasNoContentLengthWithoutABody) {
  EXPECT_FALSE(environ_of(RecordedExchange()).contains("CONTENT_LENGTH"));
}

TEST(WsgiEnviron, LetsAnApplicationRebuildItsAddress) {
  RecordedExchange exchange("/caf%C3%A9%20au?lait=%20");
  exchange.add_header("Host", "shop.example:8443");
  exchange.values.scheme = "https";
  const auto request_uri = py::module_::import("wsgiref.util").attr("request_uri");
  EXPECT_EQ(request_uri(environ_of(exchange)).cast<std::string>(),
            "https://shop.example:8443/caf%C3%A9%20au?lait=%20");
  EXPECT_EQ(request_uri(environ_of(RecordedExchange("/a?b"))).cast<std::string>(),
            "http://127.0.0.1:8000/a?b");
}

TEST(WsgiEnviron, IsABuiltinDictWithEveryKeyOfPep3333) {
  const py::dict environ = environ_of(RecordedExchange());
  EXPECT_TRUE(PyDict_CheckExact(environ.ptr()));
  for (const char* key : {"REQUEST_METHOD", "SCRIPT_NAME", "PATH_INFO", "QUERY_STRING",
                          "SERVER_NAME", "SERVER_PORT", "SERVER_PROTOCOL", "wsgi.url_scheme"})
    EXPECT_TRUE(PyUnicode_CheckExact(py::object(environ[key]).ptr())) << key;
  for (const char* key : {"wsgi.version", "wsgi.url_scheme", "wsgi.input", "wsgi.errors",
                          "wsgi.multithread", "wsgi.multiprocess", "wsgi.run_once"})
    EXPECT_TRUE(environ.contains(key)) << key;
  EXPECT_TRUE(py::object(environ["wsgi.version"]).equal(py::make_tuple(1, 0)));
  EXPECT_FALSE(environ["wsgi.run_once"].cast<bool>());
}

TEST(WsgiEnviron, SaysWhetherOthersCallTheApplicationMeanwhile) {
  for (const bool threads : {false, true}) {
    for (const bool processes : {false, true}) {
      WsgiEnviron environ({.processes = processes, .threads = threads});
      const RecordedExchange exchange;
      auto built =
          py::reinterpret_steal<py::dict>(environ.build(exchange.request(), Py_None).release());
      EXPECT_EQ(built["wsgi.multithread"].cast<bool>(), threads);
      EXPECT_EQ(built["wsgi.multiprocess"].cast<bool>(), processes);
    }
  }
}

std::string shown(const py::dict& environ) { return py::repr(environ).cast<std::string>(); }

/// A request out of few names and values, so that many are alike.
void make_any(RecordedExchange& exchange, std::minstd_rand random) {
  const auto one_of = [&random](std::initializer_list<const char*> list) {
    return *(list.begin() + random() % list.size());
  };
  exchange.set_target(one_of({"/", "/a", "/%20b?c=d", "/?"}));
  exchange.values.method = one_of({"GET", "POST"});
  exchange.values.scheme = one_of({"http", "https"});
  exchange.values.version_minor = static_cast<int>(random() % 2);
  exchange.endpoints.remote_address = one_of({"192.0.2.7", "192.0.2.8"});
  exchange.endpoints.remote_port = one_of({"1", "2", ""});
  exchange.endpoints.local_port = one_of({"8000", ""});
  for (auto left = random() % 4; left > 0; --left)
    exchange.add_header(one_of({"Host", "host", "X-A", "X-Ab", "Cookie", "Content-Type",
                                "Content-Length", "Transfer-Encoding", "Authorization"}),
                        one_of({"1", "2", "3", "", "a longer value", "caf\xe9"}));
  if (random() % 2 == 0) {
    EXPECT_TRUE(exchange.request_body.append("x"));
  }
}

TEST(WsgiEnviron, IsTheSameWhateverWasAskedBefore) {
  WsgiEnviron used({});
  std::minstd_rand random(1);
  py::list kept;
  std::size_t again = 0;
  for (int i = 0; i < 10'000; ++i) {
    const auto seed = random();
    RecordedExchange exchange;
    make_any(exchange, std::minstd_rand(seed % 4 == 0 ? seed : seed % 64 + 1));
    auto environ =
        py::reinterpret_steal<py::dict>(used.build(exchange.request(), Py_None).release());
    WsgiEnviron fresh({});
    const auto expected =
        py::reinterpret_steal<py::dict>(fresh.build(exchange.request(), Py_None).release());
    // These are of each WsgiEnviron.
    for (const char* own : {"wsgi.errors", "wsgi.early_hints"})
      ASSERT_EQ(PyDict_SetItemString(expected.ptr(), own, PyDict_GetItemString(environ.ptr(), own)),
                0);
    ASSERT_TRUE(environ.equal(expected)) << shown(environ) << "\nexpected\n" << shown(expected);
    // What applications do with it.
    switch (random() % 5) {
      case 0:
        environ["PATH_INFO"] = "/changed";
        break;
      case 1:
        environ["framework.own"] = py::dict();
        break;
      case 2:
        kept.append(environ);
        break;
      default:
        break;
    }
    again += give_back(used, std::move(environ)) ? 1 : 0;
  }
  EXPECT_EQ(again > 1000, tells_changes);
}

/// Until a request like it has a template, and once more.
py::dict built_often(WsgiEnviron& environ, const RecordedExchange& exchange) {
  for (int i = 0; i < 4; ++i) environ.build(exchange.request(), Py_None);
  return py::reinterpret_steal<py::dict>(environ.build(exchange.request(), Py_None).release());
}

TEST(WsgiEnviron, ServesAgainWhereTheApplicationOnlyReadIt) {
  WsgiEnviron environ({});
  RecordedExchange first("/first?of=two");
  first.add_header("X-Thing", "1");
  auto read = built_often(environ, first);
  const PyObject* const dict = read.ptr();
  EXPECT_EQ(text(read, "PATH_INFO"), "/first");
  py::dict(read.attr("copy")())["of its own"] = true;
  EXPECT_EQ(give_back(environ, std::move(read)), tells_changes);

  RecordedExchange second("/second");
  second.add_header("X-Thing", "2");
  const auto again =
      py::reinterpret_steal<py::dict>(environ.build(second.request(), Py_True).release());
  EXPECT_EQ(again.ptr() == dict, tells_changes);
  EXPECT_EQ(text(again, "PATH_INFO"), "/second");
  EXPECT_EQ(text(again, "QUERY_STRING"), "");
  EXPECT_EQ(text(again, "HTTP_X_THING"), "2");
  EXPECT_EQ(py::object(again["wsgi.input"]).ptr(), Py_True);
}

TEST(WsgiEnviron, IsGivenUpWhereTheApplicationChangedOrKeptIt) {
  for (const char* deed :
       {"environ['REQUEST_METHOD'] = 'PUT'", "environ['own'] = 1", "del environ['SCRIPT_NAME']",
        "environ.setdefault('own', 1)", "environ.pop('QUERY_STRING')", "kept = environ",
        "kept = environ.items()", "environ.update(a='b'); del environ['a']"}) {
    WsgiEnviron environ({});
    auto built = built_often(environ, RecordedExchange("/"));
    py::dict names;
    names["environ"] = built;
    py::exec(deed, py::globals(), names);
    PyDict_DelItemString(names.ptr(), "environ");
    EXPECT_FALSE(give_back(environ, std::move(built))) << deed;
    const auto next = py::reinterpret_steal<py::dict>(
        environ.build(RecordedExchange("/").request(), Py_None).release());
    EXPECT_EQ(text(next, "REQUEST_METHOD"), "GET");
    EXPECT_EQ(text(next, "SCRIPT_NAME"), "");
    EXPECT_FALSE(next.contains("own"));
  }
}

TEST(WsgiEnviron, IsGivenUpWhereItHoldsASecret) {
  for (const char* header : {"Cookie", "Authorization", "Proxy-Authorization"}) {
    WsgiEnviron environ({});
    RecordedExchange exchange;
    exchange.add_header(header, "secret");
    EXPECT_FALSE(give_back(environ, built_often(environ, exchange))) << header;
  }
}

TEST(WsgiEnviron, IsNotTakenBackFromWhoeverFoundItMeanwhile) {
  WsgiEnviron environ({});
  auto built = built_often(environ, RecordedExchange("/"));
  PyObject* const spare = built.ptr();
  if (!give_back(environ, std::move(built))) {
    EXPECT_FALSE(tells_changes);
    return;
  }
  // As an application could by gc.get_objects().
  const py::object found = py::reinterpret_borrow<py::object>(spare);
  const auto next = py::reinterpret_steal<py::dict>(
      environ.build(RecordedExchange("/").request(), Py_None).release());
  EXPECT_NE(next.ptr(), spare);
}

TEST(WsgiEnviron, StartsEachRequestAfresh) {
  WsgiEnviron environ({});
  RecordedExchange first;
  first.add_header("X-Only", "1");
  auto a = py::reinterpret_steal<py::dict>(environ.build(first.request(), Py_None).release());
  a["SCRIPT_NAME"] = "/changed";
  auto b = py::reinterpret_steal<py::dict>(
      environ.build(RecordedExchange().request(), Py_None).release());
  EXPECT_EQ(text(b, "SCRIPT_NAME"), "");
  EXPECT_FALSE(b.contains("HTTP_X_ONLY"));
  EXPECT_FALSE(b["wsgi.multiprocess"].cast<bool>());
  EXPECT_EQ(py::str(b["wsgi.version"]).cast<std::string>(), "(1, 0)");
}

TEST(WsgiEnviron, TakesMoreHeaderNamesThanItRemembers) {
  WsgiEnviron environ({});
  for (int i = 0; i < 2000; ++i) {
    const std::string name = "X-N" + std::to_string(i);
    RecordedExchange exchange;
    exchange.add_header(name, "v");
    auto built =
        py::reinterpret_steal<py::dict>(environ.build(exchange.request(), Py_None).release());
    ASSERT_EQ(text(built, ("HTTP_X_N" + std::to_string(i)).c_str()), "v");
  }
}

}  // namespace
}  // namespace green::python
