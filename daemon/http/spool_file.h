// A temporary file that no name leads to: gone with its descriptor. Loop thread.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "common/fd.h"
#include "common/result.h"

namespace green::http {

class SpoolFile {
 public:
  /// How a file without a name is opened; -1 with errno where that cannot be.
  using OpenUnnamed = int (*)(const char* directory);
  /// O_TMPFILE, which not every file system knows.
  static int open_unnamed(const char* directory);

  /// A file that never had a name; where that cannot be, mkstemp and unlink.
  static Result<SpoolFile> create(const std::string& directory, OpenUnnamed open = open_unnamed);

  Result<void> append(std::string_view data);
  /// pread: 0 at the end.
  Result<std::size_t> read(std::uint64_t offset, std::span<char> buffer) const;
  std::uint64_t size() const { return size_; }
  int fd() const { return fd_.get(); }

 private:
  explicit SpoolFile(Fd fd) : fd_(std::move(fd)) {}
  Fd fd_;
  std::uint64_t size_ = 0;
};

}  // namespace green::http
