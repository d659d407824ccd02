#include "common/scoreboard.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <ctime>
#include <new>
#include <utility>

namespace green {
namespace {

std::size_t mapping_size(std::uint32_t slot_count) {
  return sizeof(ScoreboardHeader) + slot_count * sizeof(ScoreboardSlot);
}

}  // namespace

Result<Scoreboard> Scoreboard::create(std::uint32_t slot_count) {
  Fd fd(::memfd_create("green-scoreboard", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd) return fail_errno("memfd_create for the scoreboard");
  if (::ftruncate(fd.get(), static_cast<off_t>(mapping_size(slot_count))) < 0)
    return fail_errno("sizing the scoreboard");
  // A worker that could shrink it would kill greend by SIGBUS.
  if (::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
    return fail_errno("sealing the scoreboard");
  return map(std::move(fd), slot_count);
}

Result<Scoreboard> Scoreboard::map(Fd fd, std::uint32_t slot_count) {
  struct stat status{};
  if (::fstat(fd.get(), &status) < 0) return fail_errno("fstat of the scoreboard");
  if (static_cast<std::uint64_t>(status.st_size) < mapping_size(slot_count))
    return fail(ErrorCode::protocol, "the scoreboard is smaller than its slots");
  void* memory =
      ::mmap(nullptr, mapping_size(slot_count), PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (memory == MAP_FAILED) return fail_errno("mapping the scoreboard");
  return Scoreboard(std::move(fd), memory, slot_count);
}

Scoreboard::Scoreboard(Fd fd, void* memory, std::uint32_t slot_count)
    : fd_(std::move(fd)), memory_(memory), slot_count_(slot_count) {}

Scoreboard::Scoreboard(Scoreboard&& other) noexcept
    : fd_(std::move(other.fd_)),
      memory_(std::exchange(other.memory_, nullptr)),
      slot_count_(std::exchange(other.slot_count_, 0)) {}

Scoreboard& Scoreboard::operator=(Scoreboard&& other) noexcept {
  if (this == &other) return *this;
  if (memory_ != nullptr) ::munmap(memory_, mapping_size(slot_count_));
  fd_ = std::move(other.fd_);
  memory_ = std::exchange(other.memory_, nullptr);
  slot_count_ = std::exchange(other.slot_count_, 0);
  return *this;
}

Scoreboard::~Scoreboard() {
  if (memory_ != nullptr) ::munmap(memory_, mapping_size(slot_count_));
}

ScoreboardHeader& Scoreboard::header() const { return *static_cast<ScoreboardHeader*>(memory_); }

ScoreboardSlot& Scoreboard::slot(std::uint32_t index) const {
  auto* slots = static_cast<std::byte*>(memory_) + sizeof(ScoreboardHeader);
  return reinterpret_cast<ScoreboardSlot*>(slots)[index];
}

void Scoreboard::reset_slot(std::uint32_t index, std::uint64_t generation) const {
  auto& used = header().used_slots;
  if (used <= index) used = index + 1;
  ScoreboardSlot& slot = this->slot(index);
  slot.heartbeat_usec = monotonic_usec();
  slot.busy_since_usec = 0;
  slot.requests = 0;
  slot.accepted = 0;
  slot.connections = 0;
  slot.in_flight = 0;
  slot.pid = 0;
  slot.generation = generation;
  slot.memory_bytes = 0;
  slot.request_limit = 0;
  slot.request[0] = 0;
  slot.client[0] = 0;
  slot.activity = WorkerActivity::none;
}

std::uint64_t monotonic_usec() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000U +
         static_cast<std::uint64_t>(now.tv_nsec) / 1'000U;
}

}  // namespace green
