// A request's body: in memory up to a limit, then in an unlinked temporary file. Loop thread.
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
  /// `limits` outlives the body.
  explicit Body(const Limits& limits) : limits_(&limits) {}

  Result<void> append(std::string_view data);
  std::uint64_t size() const { return size_; }
  bool in_memory() const { return !file_.has_value(); }
  /// The whole body; only when in_memory().
  std::string_view memory() const { return memory_; }
  /// The file that holds the whole body; only when not in_memory(). Read with pread (or read()).
  int fd() const { return file_ ? file_->fd() : -1; }
  /// Wherever it is: up to buffer.size() bytes from `offset`; 0 at the end.
  Result<std::size_t> read(std::uint64_t offset, std::span<char> buffer) const;
  /// Empty again; memory beyond a small capacity and the file are given back.
  void clear();

 private:
  const Limits* limits_;
  std::uint64_t size_ = 0;
  std::string memory_;
  std::optional<SpoolFile> file_;
};

}  // namespace green::http
