#include "daemon/http/spool_file.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <cerrno>

#include "common/high_fd.h"

namespace green::http {

int SpoolFile::open_unnamed(const char* directory) {
  return ::open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC | O_EXCL, 0600);
}

Result<SpoolFile> SpoolFile::create(const std::string& directory, OpenUnnamed open) {
  auto unnamed = move_high(Fd(open(directory.c_str())));
  if (unnamed) return SpoolFile(std::move(*unnamed));
  Fd fd;
  std::string path = directory + "/green-spool-XXXXXX";
  fd.reset(mkostemp(path.data(), O_CLOEXEC));
  if (!fd) return fail_errno("making a temporary file in " + directory);
  if (unlink(path.c_str()) != 0) return fail_errno("unlinking " + path);
  auto high = move_high(std::move(fd));
  if (!high) return fail(std::move(high.error()));
  return SpoolFile(std::move(*high));
}

Result<void> SpoolFile::append(std::string_view data) {
  while (!data.empty()) {
    const auto written = pwrite(fd_.get(), data.data(), data.size(), static_cast<off_t>(size_));
    if (written < 0) {
      if (errno == EINTR) continue;
      return fail_errno("writing a temporary file");
    }
    size_ += static_cast<std::uint64_t>(written);
    data.remove_prefix(static_cast<std::size_t>(written));
  }
  return {};
}

Result<std::size_t> SpoolFile::read(std::uint64_t offset, std::span<char> buffer) const {
  for (;;) {
    const auto count = pread(fd_.get(), buffer.data(), buffer.size(), static_cast<off_t>(offset));
    if (count >= 0) return static_cast<std::size_t>(count);
    if (errno != EINTR) return fail_errno("reading a temporary file");
  }
}

}  // namespace green::http
