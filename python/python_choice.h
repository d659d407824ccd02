// Which Python the setting `python` means, decided before the interpreter starts. Zygote, once,
// with no other thread.
//
// The standard library is always the one libpython came with: another build's would not match it
// (and builds that link their extension modules into the executable have none to lend). The chosen
// Python gives the rest: sys.prefix, sys.executable and its site-packages.
#pragma once

#include <expected>
#include <string>
#include <vector>

namespace green::python {

struct PythonChoice {
  std::string executable;  ///< sys.executable
  /// sys.prefix where no pyvenv.cfg beside `executable` says it; empty: the embedded Python's own.
  std::string prefix;
  std::vector<std::string> site_directories;  ///< with `prefix`: its site-packages
};

/// `setting`: empty (the embedded Python's own installation), a venv's folder, an interpreter (a
/// venv's or another), or the folder of an installation. Runs an interpreter that is not a venv's
/// to ask it. The error is one line: what is wrong, what it must be, what to do.
std::expected<PythonChoice, std::string> choose_python(const std::string& setting);

/// "3.11"
std::string embedded_version();

}  // namespace green::python
