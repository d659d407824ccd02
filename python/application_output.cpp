#include "python/application_output.h"

#include <array>
#include <optional>
#include <string>
#include <utility>

#include "common/log.h"
#include "python/py_ref.h"

namespace green::python {
namespace {

/// Text that never ends in a newline is cut.
constexpr std::size_t longest_unfinished = 64 << 10;
constexpr std::array default_levels{LogLevel::info, LogLevel::warning, LogLevel::warning};

/// A thread's own: lines of requests that run side by side do not mix.
thread_local std::array<std::string, default_levels.size()> unfinished_lines;

std::string& unfinished(TextSource source) {
  return unfinished_lines[static_cast<std::size_t>(source)];
}

/// Of a logging.LogRecord.
struct LogRecord {
  LogLevel level;
  std::string logger;
  std::string file;
  std::string line;
  std::string function;
};

LogLevel level_of(long number) {
  if (number >= 50) return LogLevel::critical;
  if (number >= 40) return LogLevel::error;
  if (number >= 30) return LogLevel::warning;
  return number >= 20 ? LogLevel::info : LogLevel::debug;
}

std::string text_attribute(PyObject* object, const char* name) {
  const PyRef value = PyRef::steal(PyObject_GetAttrString(object, name));
  const PyRef text = value ? PyRef::steal(PyObject_Str(value.get())) : PyRef();
  const char* utf8 = text ? PyUnicode_AsUTF8(text.get()) : nullptr;
  if (utf8 == nullptr) PyErr_Clear();
  return utf8 == nullptr ? std::string() : utf8;
}

std::optional<LogRecord> read_record(PyObject* record) {
  const PyRef number = PyRef::steal(PyObject_GetAttrString(record, "levelno"));
  if (!number || !PyLong_Check(number.get())) return std::nullopt;
  int overflow = 0;
  return LogRecord{.level = level_of(PyLong_AsLongAndOverflow(number.get(), &overflow)),
                   .logger = text_attribute(record, "name"),
                   .file = text_attribute(record, "pathname"),
                   .line = text_attribute(record, "lineno"),
                   .function = text_attribute(record, "funcName")};
}

/// The record that is being written, where our caller is emit(self, record) of a handler: streams
/// are given nothing but its text.
std::optional<LogRecord> record_of_caller() {
  PyFrameObject* frame = PyEval_GetFrame();
  if (frame == nullptr) return std::nullopt;
  const PyRef code = PyRef::steal(reinterpret_cast<PyObject*>(PyFrame_GetCode(frame)));
  if (PyUnicode_CompareWithASCIIString(reinterpret_cast<PyCodeObject*>(code.get())->co_name,
                                       "emit") != 0)
    return std::nullopt;
  const PyRef locals =
      PyRef::steal(PyObject_GetAttrString(reinterpret_cast<PyObject*>(frame), "f_locals"));
  const PyRef record =
      locals ? PyRef::steal(PyMapping_GetItemString(locals.get(), "record")) : PyRef();
  auto read = record ? read_record(record.get()) : std::nullopt;
  PyErr_Clear();  // it was another emit()
  return read;
}

/// Takes "<3>" off the beginning of `text`.
std::optional<LogLevel> take_prefix(std::string_view& text) {
  if (text.size() < 3 || text[0] != '<' || text[1] < '0' || text[1] > '7' || text[2] != '>')
    return std::nullopt;
  const auto level = static_cast<LogLevel>(text[1] - '0');
  text.remove_prefix(3);
  return level;
}

void log_lines(TextSource source, std::string_view lines) {
  if (lines.ends_with('\n')) lines.remove_suffix(1);
  if (lines.empty()) return;
  if (const auto record = record_of_caller()) {
    const std::array fields{LogField{.name = "LOGGER", .value = record->logger},
                            LogField{.name = "CODE_FILE", .value = record->file},
                            LogField{.name = "CODE_LINE", .value = record->line},
                            LogField{.name = "CODE_FUNC", .value = record->function}};
    return log_write(record->level, lines, {}, fields);
  }
  const auto level = take_prefix(lines);
  log_write(level.value_or(default_levels[static_cast<std::size_t>(source)]), lines);
}

}  // namespace

void log_application_text(TextSource source, std::string_view text) {
  std::string& line = unfinished(source);
  line += text;
  if (text.ends_with('\n') || line.size() > longest_unfinished) finish_application_text(source);
}

void finish_application_text(TextSource source) {
  // What asks a record may run code that writes.
  if (std::string& line = unfinished(source); !line.empty())
    log_lines(source, std::exchange(line, {}));
}

void finish_application_text() {
  for (const auto source : {TextSource::output, TextSource::errors, TextSource::wsgi_errors})
    finish_application_text(source);
}

}  // namespace green::python
