// What the application writes, as entries of the log: up to the end of a line, with the level that
// the `logging` module gave them. Any thread, with the GIL.
#pragma once

#include <cstddef>
#include <string_view>

namespace green::python {

/// Where text comes from. Each has, in each thread, its own line that is not finished.
enum class TextSource : std::size_t { output, errors, wsgi_errors };

/// Adds text. Where a handler of `logging` writes it, it has its record's level, and LOGGER,
/// CODE_FILE, CODE_LINE and CODE_FUNC; else the level that a prefix such as "<3>" says
/// (sd-daemon(3)), or info for output and warning for errors. An entry
/// ends where a write ends with a newline: what one print() or handler writes, also of several
/// lines, is one.
void log_application_text(TextSource source, std::string_view text);

/// Logs this thread's unfinished line, if there is one.
void finish_application_text(TextSource source);
void finish_application_text();

}  // namespace green::python
