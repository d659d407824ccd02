// The receive and send callables that an application is given. Loop thread, with the GIL.
#pragma once

#include "python/py_ref.h"

namespace green::python {

class AsgiCallables {
 public:
  /// Whose request it is.
  class Owner {
   public:
    /// The next message; empty without an exception: not there yet.
    virtual PyRef next_message() = 0;
    /// Takes a message: whether there is room for more, or what came of it in an exception.
    enum class Taken { with_room, without_room, failed };
    virtual Taken take(PyObject* message) = 0;
    /// Room for more, again. Empty with an exception set; empty without one: not yet; else None.
    virtual PyRef room() = 0;
    /// A future that is done when one of these may have changed.
    virtual PyObject* make_future() = 0;

   protected:
    ~Owner() = default;
  };

  /// Throws pybind11::error_already_set.
  AsgiCallables();
  /// For a request. False with an exception set.
  bool open(Owner& owner);
  PyObject* receive() const { return receive_.get(); }
  PyObject* send() const { return send_.get(); }
  /// The request is over: who still has them receives `last` (empty: http.disconnect) again and
  /// again, and may send nothing more.
  void close(const PyRef& last);

 private:
  PyRef receive_;
  PyRef send_;
};

}  // namespace green::python
