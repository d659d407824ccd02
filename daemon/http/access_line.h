// One line of the access log: a request and how its reply ended, as text. Whatever comes from
// outside is escaped, so that no line can be forged. Loop thread.
#pragma once

#include <cstdint>
#include <ctime>
#include <string>
#include <string_view>

#include "common/access_format.h"
#include "daemon/http/application.h"

namespace green::http {

struct AccessEntry {
  const Request& request;   ///< with an empty method: refused before it could be read
  int status = 0;           ///< 0: nothing was answered
  std::uint64_t bytes = 0;  ///< of the body, as given to the kernel or kept for it
  std::uint64_t duration_usec = 0;
  std::string_view reply_head{};  ///< as sent, where the format names headers of it
};

/// What is the same in all lines.
struct AccessOrigin {
  std::string site;
  std::uint64_t generation = 0;
  std::uint32_t worker = 0;
};

/// `text` with what is not printable ASCII, quotes and backslashes as \xHH; at most `longest` bytes
/// of it.
void append_escaped(std::string& line, std::string_view text, std::size_t longest);

class AccessLine {
 public:
  /// Longer lines have their values cut: a pipe takes this much whole or not at all.
  static constexpr std::size_t longest = 4096;

  AccessLine(AccessFormat format, AccessOrigin origin)
      : format_(std::move(format)), origin_(std::move(origin)) {}

  /// Without a newline; until the next call.
  std::string_view make(const AccessEntry& entry);

 private:
  void render(const AccessEntry& entry);
  void append_json(const AccessEntry& entry);
  void append_member(std::string_view name, std::string_view value);
  void append_atom(const AccessPiece& piece, const AccessEntry& entry);
  void append_text(std::string_view text);
  void append_variable(std::string_view name, const AccessEntry& entry);
  void append_request_line(const Request& request);
  void append_user(const Request& request);
  void append_time();
  void append_utc_time();

  AccessFormat format_;
  AccessOrigin origin_;
  std::string line_;
  std::size_t longest_value_ = 0;
  std::time_t time_made_for_ = -1;
  std::string time_;
};

}  // namespace green::http
