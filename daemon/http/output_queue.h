// What a socket has not taken yet: in memory up to a limit, then in an unlinked temporary file; and
// last the file that a reply ends with.
// Loop thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "daemon/http/application.h"
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

  /// Sends at once what the socket takes, behind what is kept; keeps the rest.
  Status send(int socket, const Frame& frame);
  /// The same with a file's part between `before` and `after`; nothing may be sent behind it.
  Status send_file(int socket, const Frame& frame, FilePart part);
  /// Takes a bounded time: see wants_turn().
  Status flush(int socket);
  bool empty() const { return memory_.empty() && !file_ && !source_ && tail_.empty(); }
  /// Bytes that are kept.
  std::uint64_t size() const;
  /// flush() left off though the socket might take more.
  bool wants_turn() const { return wants_turn_; }
  bool is_spooled() const { return file_.has_value(); }
  int errno_value() const { return errno_value_; }
  /// Bytes given to the kernel so far: progress.
  std::uint64_t sent() const { return sent_; }
  void clear();

 private:
  Status keep(std::string_view data);
  Status flush_memory(int socket);
  Status flush_file(int socket);
  Status flush_source(int socket);
  Status flush_tail(int socket);
  Status broken(int errno_value);

  const Limits* limits_;
  std::string memory_;
  std::size_t memory_offset_ = 0;
  std::optional<SpoolFile> file_;  ///< follows memory_
  std::uint64_t file_offset_ = 0;
  std::optional<FilePart> source_;  ///< what is left to send; follows file_
  std::string tail_;                ///< follows source_
  bool wants_turn_ = false;
  std::uint64_t sent_ = 0;
  int errno_value_ = 0;
};

}  // namespace green::http
