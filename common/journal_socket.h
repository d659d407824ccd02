// The journal's native socket, by which an entry has fields (systemd.journal-fields(7)). Never
// blocks: sd_journal_sendv() waits for a journald that has stopped, and whoever logs with it. Any
// thread; not from a signal handler.
#pragma once

#include <string>
#include <string_view>

#include "common/fd.h"
#include "common/result.h"

namespace green {

/// Adds "NAME=value" in the form of the journal's protocol, also where the value has newlines.
void append_journal_field(std::string& entry, std::string_view name, std::string_view value);

class JournalSocket {
 public:
  static constexpr const char* default_path = "/run/systemd/journal/socket";

  /// Under a high descriptor number. That nobody listens at `path` is no error yet.
  static Result<JournalSocket> open(const char* path = default_path);

  /// One entry. EAGAIN: journald does not keep up; it is dropped.
  Result<void> send(std::string_view entry) const;

 private:
  JournalSocket(Fd socket, const char* path) : socket_(std::move(socket)), path_(path) {}
  Result<void> send_as_file(std::string_view entry) const;

  Fd socket_;
  const char* path_;
};

}  // namespace green
