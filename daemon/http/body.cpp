#include "daemon/http/body.h"

#include <algorithm>

namespace green::http {
namespace {
constexpr std::size_t kept_capacity = 16 << 10;
}

Result<void> Body::append(std::string_view data) {
  if (is_dropped_) {
    // Counted, as what of it was taken.
  } else if (is_streamed_ || (!file_ && memory_.size() + data.size() <= limits_->body_memory)) {
    memory_.append(data);
  } else {
    if (!file_) {
      auto file = SpoolFile::create(limits_->spool_directory);
      if (!file) return fail(std::move(file.error()).context("spooling a request body"));
      file_ = std::move(*file);
      if (auto moved = file_->append(memory_); !moved) return moved;
      memory_ = {};
    }
    if (auto appended = file_->append(data); !appended) return appended;
  }
  size_ += data.size();
  return {};
}

Result<std::size_t> Body::read(std::uint64_t offset, std::span<char> buffer) const {
  if (offset >= size_) return 0;
  if (file_) return file_->read(offset, buffer);
  return memory_.copy(buffer.data(), buffer.size(), static_cast<std::size_t>(offset));
}

std::size_t Body::take(std::span<char> buffer) {
  const std::size_t count = memory_.copy(buffer.data(), buffer.size(), taken_);
  taken_ += count;
  if (taken_ == memory_.size()) {
    memory_.clear();
    taken_ = 0;
  }
  return count;
}

void Body::drop() {
  is_dropped_ = true;
  file_.reset();
  memory_ = {};
  taken_ = 0;
}

void Body::clear() {
  size_ = 0;
  taken_ = 0;
  is_streamed_ = is_dropped_ = false;
  file_.reset();
  if (memory_.capacity() > kept_capacity) {
    memory_ = {};
  } else {
    memory_.clear();
  }
}

}  // namespace green::http
