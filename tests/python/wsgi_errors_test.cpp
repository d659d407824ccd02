#include "python/wsgi_errors.h"

#include <gmock/gmock.h>

#include "common/log.h"
#include "python/wsgi_application.h"
#include "tests/python/python_fixture.h"
#include "tests/python/recorded_exchange.h"

namespace green::python {
namespace {

namespace py = pybind11;
using ::testing::HasSubstr;

/// What is logged while an application runs `code` with the stream `errors`.
std::string logged_by(std::string_view code) {
  const py::dict names =
      run_python("def app(environ, start_response):\n  errors = environ['wsgi.errors']\n" +
                 std::string(code) + "\n  start_response('200 OK', [])\n  return []\n");
  LastTraceback last;
  WsgiApplication application(PyRef::borrow(names["app"].ptr()), {}, last);
  http::RecordedExchange exchange;
  ::testing::internal::CaptureStderr();
  application.call(exchange);
  std::string logged = ::testing::internal::GetCapturedStderr();
  EXPECT_EQ(last.take(), "");
  return logged;
}

TEST(WsgiErrors, LogsEachLineAsAWarning) {
  const std::string logged =
      logged_by("  print('one', file=errors)\n  errors.writelines(['two\\n', 'three\\n'])");
  EXPECT_THAT(logged, HasSubstr("warning: one\n"));
  EXPECT_THAT(logged, HasSubstr("warning: two\n"));
  EXPECT_THAT(logged, HasSubstr("warning: three\n"));
}

TEST(WsgiErrors, HoldsALineUntilItsEndAFlushOrTheRequestsEnd) {
  EXPECT_THAT(logged_by("  errors.write('a'); errors.write('b\\nc')"),
              ::testing::AllOf(HasSubstr("warning: ab\n"), HasSubstr("warning: c\n")));
  EXPECT_THAT(logged_by("  errors.write('a'); errors.flush(); errors.write('b')"),
              ::testing::AllOf(HasSubstr("warning: a\n"), HasSubstr("warning: b\n")));
}

TEST(WsgiErrors, LogsWhateverTheLogLevel) {
  log_set_level(LogLevel::error);
  EXPECT_THAT(logged_by("  errors.write('still\\n')"), HasSubstr("still"));
  log_set_level(LogLevel::info);
}

TEST(WsgiErrors, ShowsWhatHasNoUtf8AsEscapes) {
  EXPECT_THAT(logged_by("  errors.write('caf\\xe9 \\udcff\\n')"), HasSubstr("caf\xc3\xa9 \\udcff"));
}

TEST(WsgiErrors, TakesTextAlone) {
  logged_by(R"(
  for wrong in (b'bytes', None):
    try: errors.write(wrong)
    except TypeError as error: assert 'takes str' in str(error)
    else: raise AssertionError(wrong))");
}

TEST(WsgiErrors, IsAStreamForTheLoggingModule) {
  EXPECT_THAT(logged_by(R"(
  import logging
  logger = logging.Logger('shop')
  logger.addHandler(logging.StreamHandler(errors))
  try: raise ValueError('boom')
  except ValueError: logger.exception('failed'))"),
              ::testing::AllOf(HasSubstr("failed"), HasSubstr("ValueError: boom")));
}

}  // namespace
}  // namespace green::python
