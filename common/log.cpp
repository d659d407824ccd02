#include "common/log.h"

#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "common/journal_socket.h"

namespace green {
namespace {

constexpr std::array<std::pair<std::string_view, LogLevel>, 5> level_names{{
    {"error", LogLevel::error},
    {"warning", LogLevel::warning},
    {"notice", LogLevel::notice},
    {"info", LogLevel::info},
    {"debug", LogLevel::debug},
}};

struct Log {
  LogIdentity identity{.identifier = "green", .site = {}};
  std::atomic<int> maximum{static_cast<int>(LogLevel::info)};
  std::optional<JournalSocket> journal;  ///< set: stderr is the journal's
  const char* journal_path = JournalSocket::default_path;
  std::atomic<std::uint64_t> lost{0};  ///< entries that the journal did not take
};

// Never destroyed: threads of the application may still log while the process exits.
Log& log_state() {
  static Log* const state = new Log;
  return *state;
}

std::string escape_controls(std::string_view text) {
  std::string escaped;
  escaped.reserve(text.size());
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte < 0x20 && c != '\n' && c != '\t') || byte == 0x7f)
      escaped += fmt::format("\\x{:02x}", byte);
    else
      escaped += c;
  }
  while (escaped.ends_with('\n')) escaped.pop_back();
  return escaped;
}

std::string journal_entry(const Log& log, LogLevel level, std::string_view text,
                          std::string_view message_id, std::span<const LogField> fields) {
  std::string entry;
  const auto add = [&entry](std::string_view name, std::string_view value) {
    if (!value.empty()) append_journal_field(entry, name, value);
  };
  add("PRIORITY", std::to_string(static_cast<int>(level)));
  append_journal_field(entry, "MESSAGE", text);
  add("MESSAGE_ID", message_id);
  add("SYSLOG_IDENTIFIER", log.identity.identifier);
  add("SITE", log.identity.site);
  add("GENERATION", log.identity.generation);
  add("WORKER", log.identity.worker);
  for (const LogField& field : fields) add(field.name, field.value);
  return entry;
}

/// False: there is no journal to be had.
bool write_to_journal(Log& log, LogLevel level, std::string_view text, std::string_view message_id,
                      std::span<const LogField> fields) {
  if (const auto lost = log.lost.exchange(0, std::memory_order_relaxed); lost > 0) {
    const auto told = log.journal->send(
        journal_entry(log, LogLevel::warning,
                      fmt::format("{} messages were lost: the journal was full", lost), {}, {}));
    if (!told) log.lost.fetch_add(lost, std::memory_order_relaxed);
  }
  const auto sent = log.journal->send(journal_entry(log, level, text, message_id, fields));
  if (sent) return true;
  if (sent.error().errno_value() != EAGAIN) return false;
  log.lost.fetch_add(1, std::memory_order_relaxed);
  return true;
}

void write_to_standard_error(const Log& log, LogLevel level, std::string_view text) {
  const std::string prefix =
      fmt::format("{}[{}]: {}", log.identity.identifier, ::getpid(),
                  level <= LogLevel::warning ? fmt::format("{}: ", log_level_name(level)) : "");
  std::string lines;
  for (std::size_t start = 0; start <= text.size();) {
    const std::size_t end = std::min(text.find('\n', start), text.size());
    lines += prefix;
    lines += text.substr(start, end - start);
    lines += '\n';
    start = end + 1;
  }
  std::string_view rest = lines;
  while (!rest.empty()) {
    const ssize_t written = ::write(STDERR_FILENO, rest.data(), rest.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return;  // nowhere left to say it
    rest.remove_prefix(static_cast<std::size_t>(written));
  }
}

}  // namespace

std::optional<LogLevel> log_level_from_name(std::string_view name) {
  for (const auto& [known, level] : level_names)
    if (known == name) return level;
  return std::nullopt;
}

std::string_view log_level_name(LogLevel level) {
  for (const auto& [name, known] : level_names)
    if (known == level) return name;
  return level < LogLevel::error ? "error" : "info";
}

void log_open(LogIdentity identity, LogLevel maximum) {
  Log& log = log_state();
  log.identity = std::move(identity);
  log.maximum.store(static_cast<int>(maximum), std::memory_order_relaxed);
  log.journal.reset();
  if (!is_journal_stream(STDERR_FILENO)) return;
  // Without one, stderr still leads there.
  if (auto journal = JournalSocket::open(log.journal_path)) log.journal = std::move(*journal);
}

void log_set_level(LogLevel maximum) {
  log_state().maximum.store(static_cast<int>(maximum), std::memory_order_relaxed);
}

LogLevel log_level() {
  return static_cast<LogLevel>(log_state().maximum.load(std::memory_order_relaxed));
}

bool log_is_journal() { return log_state().journal.has_value(); }

/// systemd sets JOURNAL_STREAM to "device:inode" of the stream it connected (systemd.exec(5)).
bool is_journal_stream(int fd) {
  const char* stream = ::getenv("JOURNAL_STREAM");
  struct stat status{};
  if (stream == nullptr || ::fstat(fd, &status) < 0) return false;
  return fmt::format("{}:{}", status.st_dev, status.st_ino) == stream;
}

void log_set_journal_path(const char* path) { log_state().journal_path = path; }

void log_write(LogLevel level, std::string_view text, std::string_view message_id,
               std::span<const LogField> fields) {
  Log& log = log_state();
  const std::string escaped = escape_controls(text);
  if (log.journal && write_to_journal(log, level, escaped, message_id, fields)) return;
  write_to_standard_error(log, level, escaped);
}

}  // namespace green
