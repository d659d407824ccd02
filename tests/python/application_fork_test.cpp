#include "python/application_fork.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "python/wsgi_application.h"
#include "tests/python/python_fixture.h"
#include "tests/python/recorded_exchange.h"

namespace green::python {
namespace {

int status_of(pid_t child) {
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(ApplicationFork, EndsAChildTheApplicationForked) {
  const pid_t child = ::fork();
  if (child == 0) {
    end_if_forked();
    ::_exit(42);  // only if it was not noticed
  }
  EXPECT_EQ(status_of(child), 1);
  end_if_forked();  // the parent goes on
}

TEST(ApplicationFork, LeavesOurOwnChildrenAlone) {
  set_own_fork(true);
  const pid_t child = ::fork();
  if (child == 0) {
    end_if_forked();
    ::_exit(42);
  }
  set_own_fork(false);
  EXPECT_EQ(status_of(child), 42);
}

TEST(ApplicationFork, KeepsAForkedChildOfARequestFromAnswering) {
  write_module("forking_app.py", R"(
import os
children = []
def app(environ, start_response):
    pid = os.fork()
    if pid: children.append(pid)
    start_response('200 OK', [])
    return [b'parent' if pid else b'child']
)");
  auto module = pybind11::module_::import("forking_app");
  LastTraceback traceback;
  http::RecordedExchange exchange;
  WsgiApplication application(PyRef::borrow(module.attr("app").ptr()), {.processes = true},
                              traceback);
  application.call(exchange);
  EXPECT_EQ(exchange.body, "parent");
  EXPECT_EQ(status_of(module.attr("children").cast<pybind11::list>()[0].cast<pid_t>()), 1);
}

}  // namespace
}  // namespace green::python
