#include "daemon/manager/failed_starts.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

namespace green::manager {

void FailedStarts::take(Fd kept) {
  kept_ = std::move(kept);
  std::uint32_t count = 0;
  if (::pread(kept_.get(), &count, sizeof count, 0) == sizeof count) count_ = count;
}

Result<void> FailedStarts::add() {
  ++count_;
  const bool is_new = !kept_;
  if (is_new) kept_.reset(::memfd_create("green-failed-starts", MFD_CLOEXEC));
  if (!kept_ || ::pwrite(kept_.get(), &count_, sizeof count_, 0) != sizeof count_)
    return fail_errno("counting the starts that failed");
  if (is_new) notify_.keep(kept_.get(), kept_name);
  return {};
}

void FailedStarts::forget() {
  count_ = 0;
  if (!std::exchange(kept_, Fd())) return;
  notify_.keep_no_longer(kept_name);
}

std::chrono::seconds FailedStarts::wait_after(std::uint32_t failures) {
  constexpr std::uint32_t longest = 30;
  if (failures < 2) return std::chrono::seconds(0);
  return std::chrono::seconds(std::min(longest, 1U << std::min(failures - 2, 10U)));
}

}  // namespace green::manager
