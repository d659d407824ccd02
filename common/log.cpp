#include "common/log.h"

#include <sys/stat.h>
#include <sys/uio.h>
#include <systemd/sd-journal.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <vector>

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
  bool to_journal = false;
};

// Never destroyed: threads of the application may still log while the process exits.
Log& log_state() {
  static Log* const state = new Log;
  return *state;
}

/// systemd sets JOURNAL_STREAM to "device:inode" of the stream it connected (systemd.exec(5)).
bool standard_error_is_journal() {
  const char* stream = ::getenv("JOURNAL_STREAM");
  struct stat status{};
  if (stream == nullptr || ::fstat(STDERR_FILENO, &status) < 0) return false;
  return fmt::format("{}:{}", status.st_dev, status.st_ino) == stream;
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

bool write_to_journal(const Log& log, LogLevel level, std::string_view text) {
  std::vector<std::string> fields{
      fmt::format("PRIORITY={}", static_cast<int>(level)),
      fmt::format("MESSAGE={}", text),
      fmt::format("SYSLOG_IDENTIFIER={}", log.identity.identifier),
  };
  const auto add = [&fields](const char* name, const std::string& value) {
    if (!value.empty()) fields.push_back(fmt::format("{}={}", name, value));
  };
  add("SITE", log.identity.site);
  add("GENERATION", log.identity.generation);
  add("WORKER", log.identity.worker);
  std::vector<iovec> vectors;
  for (std::string& field : fields) vectors.push_back({field.data(), field.size()});
  return ::sd_journal_sendv(vectors.data(), static_cast<int>(vectors.size())) >= 0;
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
  return "info";
}

void log_open(LogIdentity identity, LogLevel maximum) {
  Log& log = log_state();
  log.identity = std::move(identity);
  log.maximum.store(static_cast<int>(maximum), std::memory_order_relaxed);
  log.to_journal = standard_error_is_journal();
}

void log_set_level(LogLevel maximum) {
  log_state().maximum.store(static_cast<int>(maximum), std::memory_order_relaxed);
}

LogLevel log_level() {
  return static_cast<LogLevel>(log_state().maximum.load(std::memory_order_relaxed));
}

void log_write(LogLevel level, std::string_view text) {
  const Log& log = log_state();
  const std::string escaped = escape_controls(text);
  if (log.to_journal && write_to_journal(log, level, escaped)) return;
  write_to_standard_error(log, level, escaped);
}

}  // namespace green
