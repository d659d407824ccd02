#include "python/python_choice.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <patchlevel.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>

#include "common/fd.h"

namespace green::python {
namespace {

namespace fs = std::filesystem;
using Choice = std::expected<PythonChoice, std::string>;

std::unexpected<std::string> refuse(const fs::path& path, std::string_view why) {
  return std::unexpected(fmt::format("python = {}: {}", path.string(), why));
}

/// "3.11" of "3.11.2", "3.11.2.final.0" or "3.11"; nullopt of anything else.
std::optional<std::string> minor_version(std::string_view text) {
  const auto digits_from = [text](std::size_t start) {
    std::size_t end = start;
    while (end < text.size() && std::isdigit(static_cast<unsigned char>(text[end])) != 0) ++end;
    return end;
  };
  const std::size_t dot = digits_from(0);
  if (dot == 0 || dot >= text.size() || text[dot] != '.') return std::nullopt;
  const std::size_t end = digits_from(dot + 1);
  if (end == dot + 1) return std::nullopt;
  return std::string(text.substr(0, end));
}

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(" \t\r");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

/// From pyvenv.cfg (`version` of venv, `version_info` of virtualenv and uv), else from
/// lib/pythonX.Y.
std::optional<std::string> venv_version(const fs::path& folder) {
  std::ifstream file(folder / "pyvenv.cfg");
  for (std::string line; std::getline(file, line);) {
    const auto equals = line.find('=');
    if (equals == std::string::npos) continue;
    const std::string_view key = trimmed(std::string_view(line).substr(0, equals));
    if (key == "version" || key == "version_info")
      if (auto version = minor_version(trimmed(std::string_view(line).substr(equals + 1))))
        return version;
  }
  std::error_code ignored;  // no lib folder: no version, which the caller reports
  for (const auto& entry : fs::directory_iterator(folder / "lib", ignored)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("python"))
      if (auto version = minor_version(name.substr(6))) return version;
  }
  return std::nullopt;
}

bool is_executable_file(const fs::path& path) {
  std::error_code ignored;  // unreadable counts as not usable
  return fs::is_regular_file(path, ignored) && ::access(path.c_str(), X_OK) == 0;
}

std::optional<fs::path> interpreter_in(const fs::path& folder) {
  for (const std::string& name :
       {std::string("python"), std::string("python3"), fmt::format("python{}", embedded_version())})
    if (is_executable_file(folder / "bin" / name)) return folder / "bin" / name;
  return std::nullopt;
}

Choice choose_venv(const fs::path& folder, const std::optional<fs::path>& interpreter) {
  const auto version = venv_version(folder);
  if (!version)
    return refuse(folder, fmt::format("its pyvenv.cfg does not say a Python version; make it anew: "
                                      "{} -m venv --clear {}",
                                      GREEN_PYTHON_EXECUTABLE, folder.string()));
  if (*version != embedded_version())
    return refuse(
        folder,
        fmt::format("a virtual environment of Python {}, but this green embeds Python {}; "
                    "make one for it: {} -m venv --clear {}",
                    *version, embedded_version(), GREEN_PYTHON_EXECUTABLE, folder.string()));
  if (!interpreter)
    return refuse(folder,
                  "a virtual environment without a usable bin/python (was the Python it was "
                  "made with removed?); make it anew");
  return PythonChoice{.executable = interpreter->string(), .prefix = {}, .site_directories = {}};
}

/// Standard output of `interpreter -I -c script`, or why there is none.
std::expected<std::string, std::string> run_interpreter(const fs::path& interpreter,
                                                        const char* script) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) < 0) return std::unexpected(std::strerror(errno));
  const Fd reading(ends[0]);
  Fd writing(ends[1]);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, writing.get(), STDOUT_FILENO);
  std::string path = interpreter.string();
  std::string isolated = "-I";
  std::string command = "-c";
  std::string text = script;
  std::array<char*, 5> arguments{path.data(), isolated.data(), command.data(), text.data(),
                                 nullptr};
  pid_t pid = 0;
  const int error = ::posix_spawn(&pid, path.c_str(), &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return std::unexpected(std::strerror(error));
  writing.reset();
  std::string output;
  std::array<char, 4096> buffer{};
  for (;;) {
    const ssize_t size = ::read(reading.get(), buffer.data(), buffer.size());
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) break;
    output.append(buffer.data(), static_cast<std::size_t>(size));
  }
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
    return std::unexpected("it did not run as a Python interpreter");
  return output;
}

constexpr const char* question = R"(
import sys, site
print("green", "%d.%d" % sys.version_info[:2])
print(sys.prefix)
for directory in site.getsitepackages():
    print(directory)
)";

Choice choose_interpreter(const fs::path& interpreter) {
  const auto output = run_interpreter(interpreter, question);
  if (!output)
    return refuse(
        interpreter,
        fmt::format("neither a virtual environment nor a Python interpreter: {}", output.error()));
  std::vector<std::string> lines;
  for (std::size_t start = 0; start < output->size();) {
    const std::size_t end = std::min(output->find('\n', start), output->size());
    lines.push_back(output->substr(start, end - start));
    start = end + 1;
  }
  constexpr std::string_view mark = "green ";
  const auto said = lines.size() < 2 || !lines[0].starts_with(mark)
                        ? std::nullopt
                        : minor_version(std::string_view(lines[0]).substr(mark.size()));
  if (!said) return refuse(interpreter, "neither a virtual environment nor a Python interpreter");
  const std::string& version = *said;
  if (version != embedded_version())
    return refuse(interpreter,
                  fmt::format("Python {}, but this green embeds Python {}; use {} or a virtual "
                              "environment made with it",
                              version, embedded_version(), GREEN_PYTHON_EXECUTABLE));
  PythonChoice choice{.executable = interpreter.string(), .prefix = {}, .site_directories = {}};
  if (lines[1] != GREEN_PYTHON_HOME) {
    choice.prefix = lines[1];
    choice.site_directories.assign(lines.begin() + 2, lines.end());
  }
  return choice;
}

}  // namespace

std::string embedded_version() { return fmt::format("{}.{}", PY_MAJOR_VERSION, PY_MINOR_VERSION); }

Choice choose_python(const std::string& setting) {
  if (setting.empty())
    return PythonChoice{
        .executable = GREEN_PYTHON_EXECUTABLE, .prefix = {}, .site_directories = {}};
  std::error_code error;
  // Not resolved further: a venv's bin/python is a link to an interpreter outside it.
  fs::path path = fs::absolute(setting, error).lexically_normal();
  if (error) return refuse(setting, error.message());
  if (!path.has_filename()) path = path.parent_path();  // "venv/"
  const fs::file_status status = fs::status(path, error);
  if (error || !fs::exists(status))
    return refuse(
        path, fmt::format("{}; it must be a virtual environment's folder or a Python interpreter",
                          error ? error.message() : "No such file or directory"));
  if (fs::is_directory(status)) {
    const auto interpreter = interpreter_in(path);
    if (fs::exists(path / "pyvenv.cfg", error)) return choose_venv(path, interpreter);
    if (interpreter) return choose_interpreter(*interpreter);
    return refuse(path, "not a virtual environment (it has no pyvenv.cfg)");
  }
  const fs::path folder = path.parent_path().parent_path();
  if (fs::exists(folder / "pyvenv.cfg", error)) {
    const bool is_python =
        path.filename().string().starts_with("python") && is_executable_file(path);
    return choose_venv(folder, is_python ? std::optional(path) : interpreter_in(folder));
  }
  if (!is_executable_file(path))
    return refuse(path,
                  "neither a virtual environment's folder nor an executable Python interpreter");
  return choose_interpreter(path);
}

}  // namespace green::python
