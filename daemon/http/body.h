// A request's body: in memory up to a limit, then in an unlinked temporary file; or, where it is
// taken as it comes, what of it is here. Loop thread.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "common/result.h"
#include "daemon/http/limits.h"
#include "daemon/http/spool_file.h"

namespace green::http {

class Body {
 public:
  /// Of one that is taken as it comes: no more is read of the client while as much waits here.
  static constexpr std::size_t window = 64 << 10;

  /// `limits` outlives the body.
  explicit Body(const Limits& limits) : limits_(&limits) {}

  Result<void> append(std::string_view data);
  /// All that came.
  std::uint64_t size() const { return size_; }
  bool in_memory() const { return !file_.has_value(); }
  /// The whole body; only when in_memory().
  std::string_view memory() const { return memory_; }
  /// The file that holds the whole body; only when not in_memory(). Read with pread (or read()).
  int fd() const { return file_ ? file_->fd() : -1; }
  /// Wherever it is: up to buffer.size() bytes from `offset`; 0 at the end.
  Result<std::size_t> read(std::uint64_t offset, std::span<char> buffer) const;

  /// From here on it is taken as it comes: no file, and none of the above but append() and size().
  /// Precondition: empty.
  void stream() { is_streamed_ = true; }
  bool is_streamed() const { return is_streamed_; }
  /// Bytes that came and were not taken.
  std::size_t waiting() const { return memory_.size() - taken_; }
  /// Takes as many of them as fit; their number.
  std::size_t take(std::span<char> buffer);
  /// Nobody wants it: what waits and what comes is dropped.
  void drop();

  /// Empty again; memory beyond a small capacity and the file are given back.
  void clear();

 private:
  const Limits* limits_;
  std::uint64_t size_ = 0;
  std::string memory_;
  std::size_t taken_ = 0;  ///< of memory_
  bool is_streamed_ = false;
  bool is_dropped_ = false;
  std::optional<SpoolFile> file_;
};

}  // namespace green::http
