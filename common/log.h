// Logging of our three programs. Under systemd (stderr is the journal's stream) each line is a
// native journal entry with fields; elsewhere one line on stderr: "greend[123]: warning: text".
// A journald that has stopped blocks nobody: what it does not take is lost, and counted. Any
// thread; not from a signal handler, nor between fork and exec.
#pragma once

#include <fmt/format.h>

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace green {

/// Values are syslog(3) priorities.
enum class LogLevel : int { critical = 2, error = 3, warning = 4, notice = 5, info = 6, debug = 7 };

std::optional<LogLevel> log_level_from_name(std::string_view name);
std::string_view log_level_name(LogLevel level);

struct LogIdentity {
  std::string
      identifier;    ///< SYSLOG_IDENTIFIER, and the prefix on stderr: "greend", "green-worker"
  std::string site;  ///< SITE= field; empty: none
  std::string generation{};  ///< GENERATION= field; empty: none
  std::string worker{};      ///< WORKER= field (slot number); empty: none
};

/// Call once before threads start; again after a fork that changes who we are.
void log_open(LogIdentity identity, LogLevel maximum);
void log_set_level(LogLevel maximum);
LogLevel log_level();
/// Whether entries go to the journal, or else to standard error.
bool log_is_journal();
/// Whether `fd` is the stream that systemd connected to the journal (JOURNAL_STREAM).
bool is_journal_stream(int fd);

/// A field of an entry in the journal, beside those that all have.
struct LogField {
  std::string_view name;
  std::string_view value;  ///< empty: left out
};

/// Writes one entry. Control characters other than newline and tab are escaped, so that no text
/// from outside can forge a line; a text of several lines stays one journal entry (on stderr:
/// prefixed lines). `message_id`: one of message_ids.h, or empty.
void log_write(LogLevel level, std::string_view text, std::string_view message_id = {},
               std::span<const LogField> fields = {});
/// Where the journal's socket is, for tests; from the next log_open() on.
void log_set_journal_path(const char* path);

template <typename... Args>
void log_at(LogLevel level, fmt::format_string<Args...> format, Args&&... args) {
  if (level <= log_level()) log_write(level, fmt::format(format, std::forward<Args>(args)...));
}
/// With a MESSAGE_ID.
template <typename... Args>
void log_event(std::string_view message_id, LogLevel level, fmt::format_string<Args...> format,
               Args&&... args) {
  if (level <= log_level())
    log_write(level, fmt::format(format, std::forward<Args>(args)...), message_id);
}
template <typename... Args>
void log_error(fmt::format_string<Args...> format, Args&&... args) {
  log_at(LogLevel::error, format, std::forward<Args>(args)...);
}
template <typename... Args>
void log_warning(fmt::format_string<Args...> format, Args&&... args) {
  log_at(LogLevel::warning, format, std::forward<Args>(args)...);
}
template <typename... Args>
void log_notice(fmt::format_string<Args...> format, Args&&... args) {
  log_at(LogLevel::notice, format, std::forward<Args>(args)...);
}
template <typename... Args>
void log_info(fmt::format_string<Args...> format, Args&&... args) {
  log_at(LogLevel::info, format, std::forward<Args>(args)...);
}
template <typename... Args>
void log_debug(fmt::format_string<Args...> format, Args&&... args) {
  log_at(LogLevel::debug, format, std::forward<Args>(args)...);
}

}  // namespace green
