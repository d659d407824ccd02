// The futures of tasks that wait in receive() or send(), until something may have changed for them.
// Loop thread, with the GIL.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "python/event_loop.h"
#include "python/py_ref.h"

namespace green::python {

class AsgiFutures {
 public:
  /// A new one: a new reference, or null with an exception set.
  PyObject* make(EventLoop& loop);
  /// All are done. `name`: whose they are, for the log.
  void wake(const std::string& name);

 private:
  void drop_done();

  std::vector<PyRef> futures_;
  std::size_t drop_at_ = 0;  ///< of so many, those of waits that were cancelled are dropped
};

}  // namespace green::python
