// FailedStarts: how often in a row the site has failed to start. greend ends after each such start,
// so the service manager keeps the number: a memfd in the service's descriptor store, which comes
// back among the passed sockets (FileDescriptorStoreMax= in systemd.service(5)). Where nobody keeps
// it, every failure is the first. greend's thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <string_view>

#include "common/fd.h"
#include "common/result.h"
#include "daemon/manager/service_notify.h"

namespace green::manager {

class FailedStarts {
 public:
  static constexpr std::string_view kept_name = "green-failed-starts";

  explicit FailedStarts(ServiceNotify& notify) : notify_(notify) {}
  /// `kept`: as the greend before left it.
  void take(Fd kept);

  std::uint32_t count() const { return count_; }
  /// Counts one more, and has that kept.
  Result<void> add();
  /// The site serves, or somebody wants it started anew.
  void forget();

  /// How long to wait before the next start: not at all after the first failure, then 1, 2, 4, … 30
  /// s.
  static std::chrono::seconds wait_after(std::uint32_t failures);

 private:
  ServiceNotify& notify_;
  Fd kept_;
  std::uint32_t count_ = 0;
};

}  // namespace green::manager
