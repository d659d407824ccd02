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

  enum class Begun {
    runs,    ///< `task` is set
    over,    ///< a task factory ran it at once (asyncio.eager_task_factory), to its end
    failed,  ///< with an exception set, also where `name` is empty
  };
  /// Makes one, and the task that runs it. `coroutine`: the owner's, which it clears at the end.
  static Begun begin(Owner& owner, EventLoop& loop, const PyRef& name, PyObject*& coroutine,
                     PyRef& task);
  /// The owner goes: the coroutine, as far as it got, raises RuntimeError from here on.
  static void detach(PyObject* coroutine);
};

}  // namespace green::python
