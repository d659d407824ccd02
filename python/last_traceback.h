// The text of the last exception that an exchange raised, for probes. Any thread.
#pragma once

#include <mutex>
#include <string>
#include <utility>

namespace green::python {

class LastTraceback {
 public:
  void set(std::string text) {
    const std::scoped_lock lock(mutex_);
    text_ = std::move(text);
  }
  /// Clears it.
  std::string take() {
    const std::scoped_lock lock(mutex_);
    return std::exchange(text_, {});
  }

 private:
  std::mutex mutex_;
  std::string text_;
};

}  // namespace green::python
