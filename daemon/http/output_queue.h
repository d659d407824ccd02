// What a socket has not taken yet: in memory up to a limit, then in an unlinked temporary file.
// Loop thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "daemon/http/limits.h"
#include "daemon/http/response_writer.h"
#include "daemon/http/spool_file.h"

namespace green::http {

class OutputQueue {
 public:
  enum class Status {
    empty,    ///< all is with the kernel
    pending,  ///< some is kept: flush() when the socket is writable
    broken,   ///< the connection is of no use; errno_value() says why
  };

  /// `limits` outlives the queue.
  explicit OutputQueue(const Limits& limits) : limits_(&limits) {}

  /// Sends at once what the socket takes, keeps the rest.
  Status send(int socket, const Frame& frame);
  Status flush(int socket);
  bool empty() const { return memory_.empty() && !file_; }
  bool is_spooled() const { return file_.has_value(); }
  int errno_value() const { return errno_value_; }
  /// Bytes given to the kernel so far: progress.
  std::uint64_t sent() const { return sent_; }
  void clear();

 private:
  Status keep(std::string_view data);
  Status flush_memory(int socket);
  Status flush_file(int socket);
  Status broken(int errno_value);

  const Limits* limits_;
  std::string memory_;
  std::size_t memory_offset_ = 0;
  std::optional<SpoolFile> file_;  ///< follows memory_
  std::uint64_t file_offset_ = 0;
  std::uint64_t sent_ = 0;
  int errno_value_ = 0;
};

}  // namespace green::http
