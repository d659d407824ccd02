#include "python/app_loader.h"

#include <gmock/gmock.h>

#include "tests/python/python_fixture.h"

namespace green::python {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

LoadFailure failure_of(const std::string& app) {
  auto loaded = load_application(app);
  EXPECT_FALSE(loaded) << app << " was loaded";
  return loaded ? LoadFailure{} : loaded.error();
}

#define EXPECT_CONFIGURATION(failure, matcher)                      \
  do {                                                              \
    const LoadFailure seen = (failure);                             \
    EXPECT_EQ(seen.kind, StartFailure::configuration) << seen.text; \
    EXPECT_THAT(seen.text, AllOf(matcher, Not(HasSubstr("\n"))));   \
  } while (false)

#define EXPECT_APPLICATION(failure, matcher)                      \
  do {                                                            \
    const LoadFailure seen = (failure);                           \
    EXPECT_EQ(seen.kind, StartFailure::application) << seen.text; \
    EXPECT_THAT(seen.text, matcher);                              \
  } while (false)

TEST(AppName, ReadsModuleAttributesAndFactory) {
  const auto name = parse_app_name("shop.wsgi:site.app");
  ASSERT_TRUE(name);
  EXPECT_EQ(name->module, "shop.wsgi");
  EXPECT_THAT(name->attributes, ::testing::ElementsAre("site", "app"));
  EXPECT_FALSE(name->is_factory);
  const auto factory = parse_app_name("shop:make()");
  ASSERT_TRUE(factory);
  EXPECT_TRUE(factory->is_factory);
  EXPECT_THAT(factory->attributes, ::testing::ElementsAre("make"));
}

TEST(AppName, RefusesWhatIsNoNameAndQuotesIt) {
  for (const char* text : {"", ":", "a:", ":a", "a b", "a:b c", "a..b", "a:b.", "a:f(1)", "a:()",
                           "1a", "a/b.py:app", "a:b:c"}) {
    const auto name = parse_app_name(text);
    ASSERT_FALSE(name) << text;
    EXPECT_THAT(name.error(), HasSubstr(std::string("app = ") + text + ":"));
  }
}

TEST(AppLoader, LoadsAnAttributeOfAnAttributeAndWhatAFactoryReturns) {
  write_module("good_app.py", R"(
class Site:
    def app(self, environ, start_response): pass
site = Site()
def make(): return site.app
def application(environ, start_response): pass
)");
  for (const char* app :
       {"good_app:site.app", "good_app:make()", "good_app:application", "good_app"}) {
    auto loaded = load_application(app);
    ASSERT_TRUE(loaded) << loaded.error().text;
    EXPECT_EQ(PyCallable_Check(loaded->get()), 1);
  }
}

TEST(AppLoader, OfABareModuleTakesApplicationBeforeApp) {
  write_module("both.py", "def application(e, s): pass\ndef app(e, s): pass\n");
  write_module("only_app.py", "def app(e, s): pass\n");
  write_module("neither.py", "x = 1\n");
  auto both = load_application("both");
  ASSERT_TRUE(both);
  EXPECT_EQ(pybind11::handle(both->get()).attr("__name__").cast<std::string>(), "application");
  EXPECT_TRUE(load_application("only_app"));
  EXPECT_CONFIGURATION(failure_of("neither"), HasSubstr("neither 'application' nor 'app'"));
}

TEST(AppLoader, NamesAMissingModuleAndTheNearestOne) {
  write_module("bookshop.py", "app = None\n");
  EXPECT_CONFIGURATION(failure_of("bokshop:app"),
                       AllOf(HasSubstr("no module named 'bokshop'"), HasSubstr("'bookshop'")));
  EXPECT_CONFIGURATION(failure_of("bookshop.py:app"), HasSubstr("without its .py"));
}

TEST(AppLoader, NamesAMissingSubmodule) {
  write_module("pack/__init__.py", "");
  write_module("pack/wsgi.py", "app = print\n");
  EXPECT_CONFIGURATION(failure_of("pack.wsgy:app"), AllOf(HasSubstr("no module named 'pack.wsgy'"),
                                                          HasSubstr("did you mean 'wsgi'")));
}

TEST(AppLoader, NamesAMissingAttributeAndTheNearestOne) {
  write_module("attr_app.py", "def application(e, s): pass\n");
  EXPECT_CONFIGURATION(failure_of("attr_app:aplication"),
                       AllOf(HasSubstr("no attribute 'aplication'"), HasSubstr("'application'")));
}

TEST(AppLoader, SaysWhatIsNotCallable) {
  write_module("text_app.py", "app = 'hello'\ndef make(): return 3\n");
  EXPECT_CONFIGURATION(failure_of("text_app:app"), HasSubstr("not callable (it is a str)"));
  EXPECT_CONFIGURATION(failure_of("text_app:make()"), HasSubstr("not callable (it is a int)"));
  EXPECT_CONFIGURATION(failure_of("text_app"), HasSubstr("not callable"));
}

TEST(AppLoader, GivesTheTracebackOfAnImportThatFails) {
  write_module("broken.py", "def helper():\n    return 1 / 0\nhelper()\n");
  EXPECT_APPLICATION(
      failure_of("broken:app"),
      AllOf(HasSubstr("Traceback (most recent call last)"), HasSubstr("broken.py\", line 2"),
            HasSubstr("ZeroDivisionError: division by zero")));
}

TEST(AppLoader, TakesAModuleThatTheApplicationLacksForTheApplicationsFailure) {
  write_module("needs.py", "import a_module_that_is_not_there\n");
  EXPECT_APPLICATION(failure_of("needs:app"),
                     HasSubstr("No module named 'a_module_that_is_not_there'"));
}

TEST(AppLoader, GivesTheTracebackOfASyntaxError) {
  write_module("typo.py", "def app(:\n");
  EXPECT_APPLICATION(failure_of("typo:app"), AllOf(HasSubstr("SyntaxError"), HasSubstr("typo.py")));
}

TEST(AppLoader, SurvivesExitsAndInterruptsOfTheApplication) {
  write_module("exits.py", "import sys\nsys.exit('no database')\n");
  EXPECT_APPLICATION(failure_of("exits:app"), HasSubstr("SystemExit: no database"));
  write_module("interrupts.py", "raise KeyboardInterrupt\n");
  EXPECT_APPLICATION(failure_of("interrupts:app"), HasSubstr("KeyboardInterrupt"));
}

TEST(AppLoader, GivesTheTracebackOfAFactoryThatFails) {
  write_module("factory.py", "def make():\n    raise ValueError('no secret key')\n");
  EXPECT_APPLICATION(failure_of("factory:make()"),
                     AllOf(HasSubstr("ValueError: no secret key"), HasSubstr("line 2")));
}

TEST(AppLoader, ShowsChainedCausesAndTextThatIsNoUtf8) {
  write_module("chained.py", R"(
try:
    open('/nonexistent/\udcff')
except OSError as error:
    raise RuntimeError('bad \udcff') from error
)");
  EXPECT_APPLICATION(
      failure_of("chained:app"),
      AllOf(HasSubstr("FileNotFoundError"), HasSubstr("direct cause"), HasSubstr("\\udcff")));
}

TEST(AppLoader, SurvivesAnExceptionThatCantBePrinted) {
  write_module("unprintable.py", R"(
class Bad(Exception):
    def __str__(self): raise RuntimeError('inner')
raise Bad()
)");
  EXPECT_APPLICATION(failure_of("unprintable:app"), HasSubstr("Bad"));
}

}  // namespace
}  // namespace green::python
