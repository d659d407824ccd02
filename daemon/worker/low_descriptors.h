// The low descriptor numbers of a process that runs application code, which may close them: 0 to 2
// are opened again, so that the next connection is not what print() writes to; in a worker those up
// to lowest_high_fd are occupied, so that nothing of ours gets one of them. Main thread.
#pragma once

#include <array>

#include "common/fd.h"
#include "common/result.h"

namespace green::worker {

class LowDescriptors {
 public:
  /// Keeps copies of standard input, output and error as they are now.
  static Result<LowDescriptors> keep();
  /// Where 0, 1 or 2 is closed, it is opened again as it was.
  void restore_streams() const;
  /// Fills what else is free below lowest_high_fd.
  void occupy() const;
  /// Standard error, under a number that stays open.
  int error() const { return copies_[2].get(); }

 private:
  std::array<Fd, 3> copies_;
  Fd null_;
};

}  // namespace green::worker
