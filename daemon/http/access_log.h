// The access log of one worker: a line for each request whose reply ended, to the journal, standard
// output or a file. It never blocks: a line that its target does not take at once is dropped and
// counted. Loop thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "common/fd.h"
#include "common/journal_socket.h"
#include "common/result.h"
#include "common/settings.h"
#include "daemon/http/access_line.h"

namespace green::http {

class AccessLog {
 public:
  /// Of the settings `access_log` and `access_log_format`; null where it is off. An error
  /// (ErrorCode::configuration) names what can't be opened; a file that a full disk has no room for
  /// is none, and is tried again.
  static Result<std::unique_ptr<AccessLog>> create(
      const Settings& settings, AccessOrigin origin,
      const char* journal_path = JournalSocket::default_path);

  void write(const AccessEntry& entry);
  /// Says in the log how many lines were dropped: the first time at once, then once a minute.
  void report(std::uint64_t now_usec);
  std::uint64_t dropped() const { return dropped_; }

 private:
  AccessLog(AccessFormat format, AccessOrigin origin);
  Result<void> open_stream();
  void write_to_journal(const AccessEntry& entry);
  void write_to_stream(std::string_view line);
  /// What the target took of it; -1 with errno.
  ssize_t put(std::string_view bytes) const;
  void drop(int errno_value);

  AccessOrigin origin_;
  AccessLine line_;
  std::string entry_;  ///< of the journal; kept for its memory
  std::optional<JournalSocket> journal_;
  std::string path_;  ///< empty: standard output
  Fd stream_;         ///< none: its disk was full
  bool is_socket_ = false;
  bool is_shared_ = false;  ///< its file status flags are not ours to change: asked before a write
  std::string torn_;        ///< the end of a line of which only the beginning was taken
  std::uint64_t dropped_ = 0;  ///< since the last report
  int why_dropped_ = 0;
  std::uint64_t next_report_usec_ = 0;
};

}  // namespace green::http
