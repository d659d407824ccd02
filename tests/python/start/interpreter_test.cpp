// What Runtime::create makes of the settings, each in a child of its own.
#include <gmock/gmock.h>
#include <pybind11/embed.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <functional>

#include "python/python_choice.h"
#include "python/runtime.h"
#include "tests/python/temporary_folder.h"

namespace green::python {
namespace {

namespace py = pybind11;
using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

/// What `body` returns, run in a forked child.
std::string in_child(const std::function<std::string()>& body) {
  std::array<int, 2> ends{};
  EXPECT_EQ(::pipe(ends.data()), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const std::string answer = body();
    const ssize_t written = ::write(ends[1], answer.data(), answer.size());
    ::_exit(written < 0 ? 1 : 0);
  }
  ::close(ends[1]);
  std::string answer;
  std::array<char, 4096> buffer{};
  for (ssize_t size = 0; (size = ::read(ends[0], buffer.data(), buffer.size())) > 0;)
    answer.append(buffer.data(), static_cast<std::size_t>(size));
  ::close(ends[0]);
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "the child ended with " << status;
  return answer;
}

/// str() of a Python expression under `settings`; or "configuration: why", "application: why".
std::string evaluate(const Settings& settings, const std::string& expression) {
  return in_child([&] {
    auto runtime = Runtime::create(settings);
    if (!runtime)
      return (runtime.error().kind == StartFailure::configuration ? "configuration: "
                                                                  : "application: ") +
             runtime.error().text;
    try {
      py::dict names;
      names["sys"] = py::module_::import("sys");
      names["os"] = py::module_::import("os");
      return py::str(py::eval(expression, names)).cast<std::string>();
    } catch (py::error_already_set& error) {
      return std::string("raised: ") + error.what();
    }
  });
}

/// A virtual environment made by the embedded Python's own venv module.
std::string make_venv(const TemporaryFolder& folder) {
  const std::string path = folder.string() + "/venv";
  const std::string command = std::string(TEST_PYTHON) + " -I -m venv --without-pip " + path;
  EXPECT_EQ(std::system(command.c_str()), 0);
  folder.write("venv/lib/python" + embedded_version() + "/site-packages/only_in_venv.py",
               "x = 1\n");
  return path;
}

TEST(Interpreter, IsTheSystemsWithoutASetting) {
  EXPECT_EQ(evaluate({}, "sys.executable, sys.prefix == sys.base_prefix"),
            std::string("('") + TEST_PYTHON + "', True)");
}

TEST(Interpreter, TakesAVenvByItsFolder) {
  const TemporaryFolder folder;
  const std::string venv = make_venv(folder);
  Settings settings;
  settings.python = venv;
  EXPECT_EQ(evaluate(settings, "sys.prefix, sys.exec_prefix, sys.executable"),
            "('" + venv + "', '" + venv + "', '" + venv + "/bin/python')");
  EXPECT_EQ(evaluate(settings, "__import__('only_in_venv').x"), "1");
  EXPECT_EQ(evaluate(settings, "sys.base_prefix != sys.prefix"), "True");
  EXPECT_EQ(evaluate(settings, "[p for p in sys.path if 'dist-packages' in p]"), "[]");
  EXPECT_EQ(evaluate(settings, "__import__('json').dumps([1])"), "[1]");
  EXPECT_EQ(evaluate(settings, "__import__('ssl').OPENSSL_VERSION[:7]"), "OpenSSL");
}

TEST(Interpreter, TakesAVenvByItsInterpreterAndByATrailingSlash) {
  const TemporaryFolder folder;
  const std::string venv = make_venv(folder);
  Settings settings;
  settings.python = venv + "/bin/python3";
  EXPECT_EQ(evaluate(settings, "sys.prefix, sys.executable"),
            "('" + venv + "', '" + venv + "/bin/python3')");
  settings.python = venv + "/";
  EXPECT_EQ(evaluate(settings, "sys.prefix"), venv);
}

TEST(Interpreter, TakesARelativeVenvFromTheStartingFolderNotFromChdir) {
  const TemporaryFolder folder;
  const std::string venv = make_venv(folder);
  EXPECT_EQ(in_child([&] {
              if (::chdir(folder.string().c_str()) < 0) return std::string("chdir failed");
              Settings settings;
              settings.python = "venv";
              settings.chdir = "/";
              auto runtime = Runtime::create(settings);
              if (!runtime) return runtime.error().text;
              return py::module_::import("sys").attr("prefix").cast<std::string>();
            }),
            venv);
}

TEST(Interpreter, SeesSystemPackagesWhereTheVenvSaysSo) {
  const TemporaryFolder folder;
  const std::string venv = make_venv(folder);
  folder.write("venv/pyvenv.cfg",
               "home = /usr/bin\ninclude-system-site-packages = true\nversion = " +
                   embedded_version() + ".9\n");
  Settings settings;
  settings.python = venv;
  EXPECT_EQ(evaluate(settings,
                     "any('dist-packages' in p for p in sys.path), __import__('only_in_venv').x"),
            "(True, 1)");
}

TEST(Interpreter, RunsOnItsOwnStandardLibraryWhateverTheVenvWasMadeWith) {
  const TemporaryFolder folder;
  const std::string venv = make_venv(folder);
  // As uv and virtualenv write it, of an installation whose library would not fit ours.
  folder.write("venv/pyvenv.cfg",
               "home = /opt/another/bin\nimplementation = CPython\nversion_info = " +
                   embedded_version() + ".99\n");
  Settings settings;
  settings.python = venv;
  EXPECT_EQ(evaluate(settings, "sys.prefix, __import__('only_in_venv').x"), "('" + venv + "', 1)");
}

TEST(Interpreter, RefusesAPathThatIsNotThere) {
  Settings settings;
  settings.python = "/nonexistent/venv";
  EXPECT_THAT(evaluate(settings, "1"),
              AllOf(StartsWith("configuration: python = /nonexistent/venv: "),
                    HasSubstr("No such file or directory")));
}

TEST(Interpreter, RefusesAVenvOfAnotherMinorVersionAndSaysWhatToDo) {
  const TemporaryFolder folder;
  const std::string venv = make_venv(folder);
  Settings settings;
  settings.python = venv;
  for (const char* line : {"version = 3.4.1", "version_info = 3.4.1.final.0"}) {
    folder.write("venv/pyvenv.cfg", std::string("home = /usr/bin\n") + line + "\n");
    EXPECT_THAT(evaluate(settings, "1"),
                AllOf(StartsWith("configuration: "), HasSubstr("Python 3.4,"),
                      HasSubstr("embeds Python " + embedded_version()),
                      HasSubstr("-m venv --clear " + venv), Not(HasSubstr("\n"))));
  }
}

TEST(Interpreter, ReadsAVenvsVersionFromItsLibraryWhereItsFileDoesNotSayIt) {
  const TemporaryFolder folder;
  folder.write("venv/pyvenv.cfg", "home = /usr/bin\n");
  folder.write("venv/lib/python3.4/site-packages/x.py", "");
  Settings settings;
  settings.python = folder.string() + "/venv";
  EXPECT_THAT(evaluate(settings, "1"), HasSubstr("Python 3.4,"));
}

TEST(Interpreter, RefusesWhatIsNeitherVenvNorInterpreter) {
  const TemporaryFolder folder;
  Settings settings;
  settings.python = folder.string();
  EXPECT_THAT(evaluate(settings, "1"),
              AllOf(StartsWith("configuration: "), HasSubstr("no pyvenv.cfg")));
  settings.python = folder.write("notes.txt", "hello").string();
  EXPECT_THAT(evaluate(settings, "1"),
              AllOf(StartsWith("configuration: "), HasSubstr("notes.txt: neither")));
  settings.python = "/bin/true";
  EXPECT_THAT(evaluate(settings, "1"),
              AllOf(StartsWith("configuration: "), HasSubstr("/bin/true: neither")));
  settings.python = "/bin/false";
  EXPECT_THAT(evaluate(settings, "1"),
              AllOf(StartsWith("configuration: "), HasSubstr("did not run")));
}

/// A stand-in for another installation's interpreter.
std::string write_interpreter(const TemporaryFolder& folder, const std::string& version,
                              const std::string& rest) {
  const auto file =
      folder.write("other/bin/python3", "#!/bin/sh\necho green " + version + "\n" + rest);
  std::filesystem::permissions(file, std::filesystem::perms::owner_all);
  return file.string();
}

TEST(Interpreter, RefusesAnotherInterpreterOfAnotherMinorVersion) {
  const TemporaryFolder folder;
  Settings settings;
  settings.python = write_interpreter(folder, "3.4", "echo /opt/other\n");
  EXPECT_THAT(evaluate(settings, "1"),
              AllOf(StartsWith("configuration: "), HasSubstr("Python 3.4,"), HasSubstr("embeds")));
}

TEST(Interpreter, TakesPrefixAndPackagesOfAnotherInstallationOfItsVersion) {
  const TemporaryFolder folder;
  const std::string packages =
      folder.write("packages/only_there.py", "x = 7\n").parent_path().string();
  Settings settings;
  settings.python =
      write_interpreter(folder, embedded_version(), "echo /opt/other\necho " + packages + "\n");
  EXPECT_EQ(evaluate(settings, "sys.prefix, sys.executable, __import__('only_there').x"),
            "('/opt/other', '" + settings.python + "', 7)");
  EXPECT_EQ(evaluate(settings, "[p for p in sys.path if 'dist-packages' in p]"), "[]");
}

TEST(Interpreter, PutsPythonpathThenTheWorkingFolderFirst) {
  const TemporaryFolder folder;
  folder.write("site/x.py", "");
  folder.write("a/x.py", "");
  Settings settings;
  settings.chdir = folder.string() + "/site";
  settings.pythonpath = {"../a", "/nonexistent/b"};
  EXPECT_EQ(evaluate(settings, "os.getcwd(), sys.path[:3]"),
            "('" + settings.chdir + "', ['" + folder.string() + "/a', '/nonexistent/b', '" +
                settings.chdir + "'])");
}

TEST(Interpreter, RefusesAFolderItCantChangeTo) {
  Settings settings;
  settings.chdir = "/nonexistent";
  EXPECT_EQ(evaluate(settings, "1"),
            "configuration: chdir = /nonexistent: No such file or directory");
}

TEST(Interpreter, DropsPythonVariablesOfTheProcessAndTakesThoseOfTheSettings) {
  ::setenv("PYTHONPATH", "/nonexistent/leak", 1);
  ::setenv("PYTHONHASHSEED", "1", 1);
  Settings settings;
  settings.env = {{"PYTHONDONTWRITEBYTECODE", "1"}, {"COLOUR", "grün"}};
  EXPECT_EQ(evaluate(settings,
                     "'/nonexistent/leak' in sys.path, 'PYTHONPATH' in os.environ, "
                     "sys.flags.hash_randomization, "
                     "sys.dont_write_bytecode, os.environ['COLOUR']"),
            "(False, False, 1, True, 'grün')");
  ::unsetenv("PYTHONPATH");
  ::unsetenv("PYTHONHASHSEED");
}

TEST(Interpreter, RefusesAVariableThatCantBe) {
  Settings settings;
  settings.env = {{"A=B", "1"}};
  EXPECT_THAT(evaluate(settings, "1"), StartsWith("configuration: env: \"A=B\""));
}

TEST(Interpreter, InstallsNoSignalHandlersAndWritesLineByLine) {
  EXPECT_EQ(in_child([] {
              ::signal(SIGINT, SIG_DFL);  // ignored in a job that a shell runs in the background
              auto runtime = Runtime::create({});
              if (!runtime) return runtime.error().text;
              struct sigaction action{};
              ::sigaction(SIGINT, nullptr, &action);
              return std::string(action.sa_handler == SIG_DFL ? "default" : "handled");
            }),
            "default");
  EXPECT_EQ(evaluate({}, "sys.stdout.line_buffering, sys.stderr.line_buffering, sys.argv"),
            "(True, True, ['green-worker'])");
}

TEST(Interpreter, SpeaksUtf8InTheCLocale) {
  EXPECT_EQ(in_child([] {
              ::setenv("LC_ALL", "C", 1);
              auto runtime = Runtime::create({});
              if (!runtime) return runtime.error().text;
              return py::module_::import("sys").attr("stdout").attr("encoding").cast<std::string>();
            }),
            "utf-8");
}

}  // namespace
}  // namespace green::python
