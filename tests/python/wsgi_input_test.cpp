#include "python/wsgi_input.h"

#include <gmock/gmock.h>

#include "tests/python/python_fixture.h"

namespace green::python {
namespace {

namespace py = pybind11;

/// Each test runs on a body in memory and on one in a file.
class WsgiInputTest : public ::testing::TestWithParam<std::size_t> {
 protected:
  WsgiInputTest() { limits_.body_memory = GetParam(); }

  py::object input_of(std::string_view data) {
    EXPECT_TRUE(body_.append(data));
    return py::reinterpret_steal<py::object>(WsgiInput::create(body_, {}).release());
  }

  http::Limits limits_;
  http::Body body_{limits_};
};

INSTANTIATE_TEST_SUITE_P(MemoryAndFile, WsgiInputTest, ::testing::Values(1U << 20, 4U));

std::string text(const py::object& bytes) { return bytes.cast<std::string>(); }

TEST_P(WsgiInputTest, ReadsInPiecesAndThenNothing) {
  const py::object input = input_of("hello world");
  EXPECT_EQ(text(input.attr("read")(5)), "hello");
  EXPECT_EQ(text(input.attr("read")(0)), "");
  EXPECT_EQ(text(input.attr("read")()), " world");
  EXPECT_EQ(text(input.attr("read")()), "");
  EXPECT_EQ(text(input.attr("read")(10)), "");
}

TEST_P(WsgiInputTest, TakesNoneNegativeAndHugeSizesForAll) {
  EXPECT_EQ(text(input_of("abcdef").attr("read")(py::none())), "abcdef");
  py::object again = py::reinterpret_steal<py::object>(WsgiInput::create(body_, {}).release());
  EXPECT_EQ(text(again.attr("read")(-1)), "abcdef");
  again = py::reinterpret_steal<py::object>(WsgiInput::create(body_, {}).release());
  EXPECT_EQ(text(again.attr("read")(py::int_(10).attr("__pow__")(30))), "abcdef");
}

TEST_P(WsgiInputTest, ReadsLinesWithTheirEnds) {
  const py::object input = input_of("one\ntwo\r\n\nlast");
  EXPECT_EQ(text(input.attr("readline")()), "one\n");
  EXPECT_EQ(text(input.attr("readline")(2)), "tw");
  EXPECT_EQ(text(input.attr("readline")(100)), "o\r\n");
  EXPECT_EQ(text(input.attr("readline")(0)), "");
  EXPECT_EQ(text(input.attr("readline")()), "\n");
  EXPECT_EQ(text(input.attr("readline")()), "last");
  EXPECT_EQ(text(input.attr("readline")()), "");
}

TEST_P(WsgiInputTest, IteratesAndListsLines) {
  const auto list_of = [](std::initializer_list<const char*> lines) {
    py::list list;
    for (const char* line : lines) list.append(py::bytes(line));
    return list;
  };
  EXPECT_TRUE(py::list(input_of("a\nb\nc")).equal(list_of({"a\n", "b\n", "c"})));
  py::object again = py::reinterpret_steal<py::object>(WsgiInput::create(body_, {}).release());
  EXPECT_TRUE(again.attr("readlines")(3).equal(list_of({"a\n", "b\n"})));
  EXPECT_TRUE(again.attr("readlines")().equal(list_of({"c"})));
  EXPECT_TRUE(again.attr("readlines")().equal(list_of({})));
  again = py::reinterpret_steal<py::object>(WsgiInput::create(body_, {}).release());
  EXPECT_EQ(text(again.attr("__next__")()), "a\n");
  EXPECT_EQ(text(again.attr("read")(1)), "b") << "each goes on where the other ended";
  EXPECT_TRUE(again.attr("readlines")(0).equal(list_of({"\n", "c"})));
}

TEST_P(WsgiInputTest, ReadsALineLongerThanAWindow) {
  const std::string line(100'000, 'x');
  const py::object input = input_of(line + "\nrest");
  EXPECT_EQ(text(input.attr("readline")()), line + "\n");
  EXPECT_EQ(text(input.attr("readline")()), "rest");
}

TEST_P(WsgiInputTest, RefusesWhatIsNoSize) {
  const py::object input = input_of("abc");
  EXPECT_THROW(input.attr("read")("2"), py::error_already_set);
  EXPECT_THROW(input.attr("read")(1.5), py::error_already_set);
  EXPECT_THROW(input.attr("read")(1, 2), py::error_already_set);
  EXPECT_EQ(text(input.attr("read")()), "abc");
}

TEST_P(WsgiInputTest, IsClosedOnceTheRequestIsOver) {
  const py::object input = input_of("abc");
  WsgiInput::detach(input.ptr());
  for (const char* method : {"read", "readline", "readlines", "__next__"})
    EXPECT_THROW(input.attr(method)(), py::error_already_set) << method;
}

/// As where another thread answers the request while the size's __index__ runs.
TEST_P(WsgiInputTest, IsClosedByWhatASizeDoes) {
  for (const char* method : {"read", "readline", "readlines"}) {
    py::object input = input_of("abc");
    py::dict names = run_python("class Size:\n  def __index__(self): return end() or 2\n");
    names["end"] = py::cpp_function([&input] { WsgiInput::detach(input.ptr()); });
    EXPECT_THROW(input.attr(method)(names["Size"]()), py::error_already_set) << method;
  }
}

TEST(WsgiInput, CantBeMadeByPython) {
  http::Limits limits;
  http::Body body(limits);
  const auto input = py::reinterpret_steal<py::object>(WsgiInput::create(body, {}).release());
  EXPECT_THROW(py::type::of(input)(), py::error_already_set);
}

}  // namespace
}  // namespace green::python
