// Copies of standard input, output and error that survive an application that closes descriptors 0 to 2:
// without them, the next connection accepted would be what print() writes to. Main thread.
#pragma once

#include <array>

#include "common/fd.h"
#include "common/result.h"

namespace green::worker {

class StandardStreams {
 public:
  static Result<StandardStreams> keep();
  /// Where 0, 1 or 2 is closed, it is opened again as it was.
  void restore() const;
  /// Standard error, under a number that stays open.
  int error() const { return copies_[2].get(); }

 private:
  std::array<Fd, 3> copies_;
};

}  // namespace green::worker
