#include "python/asgi_futures.h"

#include <algorithm>
#include <utility>

#include "common/log.h"
#include "python/traceback.h"

namespace green::python {
namespace {

constexpr std::size_t fewest_to_drop = 16;

/// As one is whose task was cancelled.
bool is_done(PyObject* future) {
  const PyRef done = PyRef::steal(PyObject_CallMethod(future, "done", nullptr));
  return done.get() == Py_True;
}

}  // namespace

PyObject* AsgiFutures::make(EventLoop& loop) {
  if (futures_.size() >= drop_at_) drop_done();
  PyObject* const future = loop.create_future();
  if (future != nullptr) futures_.push_back(PyRef::borrow(future));
  return future;
}

void AsgiFutures::drop_done() {
  std::erase_if(futures_, [](const PyRef& future) {
    const bool is_over = is_done(future.get());
    PyErr_Clear();  // one that can't tell is kept
    return is_over;
  });
  drop_at_ = std::max(fewest_to_drop, 2 * futures_.size());
}

void AsgiFutures::wake(const std::string& name) {
  if (futures_.empty()) return;
  for (const PyRef& future : std::exchange(futures_, {})) {
    if (is_done(future.get())) continue;
    if (PyErr_Occurred() == nullptr &&
        PyRef::steal(PyObject_CallMethod(future.get(), "set_result", "O", Py_None)))
      continue;
    log_error("{}: {}", name, take_exception_line());
  }
}

}  // namespace green::python
