// Awaitables of our own: done at once where their value is there already, so that `await` goes on
// without a turn of the loop. Loop thread, with the GIL.
#pragma once

#include "python/py_ref.h"

namespace green::python {

/// Where an awaitable's value comes from.
struct AwaitableKind {
  /// The value. Null with an exception set; null without one: not there yet.
  PyObject* (*poll)(PyObject* owner);
  /// A new future, which is done when a poll may be worth another try. Null with an exception set.
  PyObject* (*make_future)(PyObject* owner);
};

/// Polls when it is awaited. `kind` outlives it. Empty with an exception set.
PyRef make_awaitable(const AwaitableKind& kind, PyObject* owner);
/// One for all: None, at once. Empty with an exception set.
PyRef awaitable_none();

/// What is to be driven of an object that can be awaited. Empty with an exception set (TypeError,
/// where it can't).
PyRef iterator_of_awaitable(PyObject* object);

}  // namespace green::python
