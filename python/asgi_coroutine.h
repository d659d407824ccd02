// What an asyncio.Task runs for a request: a coroutine that calls the application in its first
// step, and goes on with what that returns. So the task is a real one, and how the application ends
// is known without a callback. Loop thread, with the GIL.
#pragma once

#include "python/event_loop.h"
#include "python/py_ref.h"

namespace green::python {

class AsgiCoroutine {
 public:
  /// Whose request it is.
  class Owner {
   public:
    /// Calls the application: what it returned, or empty with an exception set.
    virtual PyRef begin() = 0;
    /// The application's code runs next. False with an exception set: it shall not.
    virtual void before_step() = 0;
    virtual void after_step() = 0;
    // One of these is the last that the owner hears.
    virtual void returned() = 0;
    /// With an exception set, which it takes; true: it leaves one, for the task.
    virtual bool raised() = 0;
    /// Its task ended without it, or it was let go of, as one is that a task factory wraps and
    /// never begins. Any thread.
    virtual void dropped() = 0;

   protected:
    ~Owner() = default;
  };

  /// Empty with an exception set.
  static PyRef create(Owner& owner);
  /// The task that runs it. Empty with an exception set, also where `name` is empty.
  static PyRef create_task(EventLoop& loop, PyObject* coroutine, const PyRef& name);
  /// The owner goes: the coroutine, as far as it got, raises RuntimeError from here on.
  static void detach(PyObject* coroutine);
};

}  // namespace green::python
