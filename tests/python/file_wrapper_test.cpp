// wsgi.file_wrapper: what is sent as a file, and what is read.
#include "python/file_wrapper.h"

#include <gmock/gmock.h>

#include "python/wsgi_application.h"
#include "tests/python/python_fixture.h"
#include "tests/python/recorded_exchange.h"

namespace green::python {
namespace {

namespace py = pybind11;
using http::RecordedExchange;

/// Calls an application that returns the wrapper around `expression`; `f` is the path of a file of
/// ten digits. Its `log` says how often what it wrapped was closed.
class WrappedFile {
 public:
  explicit WrappedFile(const std::string& expression, const std::string& prepare = "pass") {
    site_folder().write("digits", "0123456789");
    names_ = run_python(R"(
import gzip, io, os, tempfile
log = []
f = ')" + (site_folder().path() / "digits").string() +
                        R"('
class Closing:
    """Counts close() of what it stands before."""
    def __init__(self, inner):
        self.inner = inner
    def read(self, size=-1):
        return self.inner.read(size)
    def close(self):
        log.append('closed')
def app(environ, start_response):
    start_response('200 OK', [])
    x = )" + expression +
                        R"(
    )" + prepare + R"(
    global wrapped
    wrapped = x
    return environ['wsgi.file_wrapper'](x, 4)
)");
    LastTraceback last;
    WsgiApplication application(PyRef::borrow(names_["app"].ptr()), {.processes = true}, last);
    application.call(exchange);
    EXPECT_EQ(last.take(), "");
    EXPECT_EQ(exchange.finishes, 1);
  }
  bool is_closed() { return names_["wrapped"].attr("closed").cast<bool>(); }
  std::size_t closes() { return py::len(names_["log"]); }

  RecordedExchange exchange;

 private:
  py::dict names_;
};

TEST(FileWrapper, SendsARealFileWithoutReadingIt) {
  for (const std::string expression : {"open(f, 'rb')", "open(f, 'rb', buffering=0)"}) {
    WrappedFile file(expression);
    EXPECT_EQ(file.exchange.file, "0123456789") << expression;
    EXPECT_TRUE(file.exchange.parts.empty());
    EXPECT_TRUE(file.is_closed());
  }
}

TEST(FileWrapper, BeginsAtTheCurrentPosition) {
  EXPECT_EQ(WrappedFile("open(f, 'rb')", "x.seek(3)").exchange.file, "3456789");
  // A buffered file's descriptor is further than what was read of it.
  EXPECT_EQ(WrappedFile("open(f, 'rb')", "x.read(2)").exchange.file, "23456789");
}

TEST(FileWrapper, SendsWhatWasJustWritten) {
  WrappedFile file("tempfile.TemporaryFile()", "x.write(b'fresh text'), x.seek(6)");
  EXPECT_EQ(file.exchange.file, "text");
}

TEST(FileWrapper, ReadsWhatIsNoRealFile) {
  WrappedFile file("io.BytesIO(b'abcdefghij')");
  EXPECT_FALSE(file.exchange.file);
  EXPECT_THAT(file.exchange.parts, ::testing::ElementsAre("abcd", "efgh", "ij"));
  EXPECT_TRUE(file.is_closed());
}

TEST(FileWrapper, ReadsFilesThatDecodeWhatTheyHold) {
  // They have the descriptor of what is packed.
  WrappedFile packed("gzip.open(f + '.gz', 'wb')",
                     "x.write(b'unpacked'); x.close(); x = gzip.open(f + '.gz', 'rb')");
  EXPECT_FALSE(packed.exchange.file);
  EXPECT_EQ(packed.exchange.body, "unpacked");
  WrappedFile buffered("io.BufferedReader(gzip.open(f + '.gz', 'rb'))");
  EXPECT_FALSE(buffered.exchange.file);
  EXPECT_EQ(buffered.exchange.body, "unpacked");
}

TEST(FileWrapper, ReadsFilesWhoseSizeIsNotKnown) {
  WrappedFile file("open('/proc/self/comm', 'rb')");
  EXPECT_FALSE(file.exchange.file);
  EXPECT_NE(file.exchange.body, "");
  WrappedFile pipe(
      "os.fdopen(os.pipe()[0], 'rb')",
      "y = os.pipe(); os.write(y[1], b'piped'); os.close(y[1]); x = os.fdopen(y[0], 'rb')");
  EXPECT_FALSE(pipe.exchange.file);
  EXPECT_EQ(pipe.exchange.body, "piped");
}

TEST(FileWrapper, ClosesWhatItWrapsOnce) {
  WrappedFile file("Closing(open(f, 'rb'))");
  EXPECT_EQ(file.exchange.body, "0123456789");
  EXPECT_EQ(file.closes(), 1U);
}

}  // namespace
}  // namespace green::python
