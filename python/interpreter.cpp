#include "python/interpreter.h"

#include <Python.h>
#include <fmt/format.h>
#include <pybind11/embed.h>
#include <pybind11/stl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "python/python_choice.h"
#include "python/standard_streams.h"
#include "python/traceback.h"

namespace green::python {
namespace {

namespace py = pybind11;
using Started = std::expected<void, LoadFailure>;

std::unexpected<LoadFailure> refuse(std::string text) {
  return std::unexpected(LoadFailure{StartFailure::configuration, std::move(text)});
}

void drop_python_variables() {
  std::vector<std::string> names;
  for (char** variable = environ; variable != nullptr && *variable != nullptr; ++variable) {
    const std::string_view text = *variable;
    if (text.starts_with("PYTHON")) names.emplace_back(text.substr(0, text.find('=')));
  }
  for (const std::string& name : names) ::unsetenv(name.c_str());
}

Started apply_environment(const StringMap& variables) {
  for (const auto& [name, value] : variables)
    if (::setenv(name.c_str(), value.c_str(), 1) < 0)
      return refuse(
          fmt::format("env: \"{}\" can't be a variable's name: {}", name, std::strerror(errno)));
  return {};
}

/// A PyConfig that is cleared however its use ends.
class Configuration {
 public:
  Configuration() { PyConfig_InitPythonConfig(&config_); }
  Configuration(const Configuration&) = delete;
  Configuration& operator=(const Configuration&) = delete;
  ~Configuration() { PyConfig_Clear(&config_); }

  PyConfig* operator->() { return &config_; }
  PyConfig* get() { return &config_; }
  void set(wchar_t** member, const std::string& text) {
    if (PyStatus_Exception(status_)) return;
    status_ = PyConfig_SetBytesString(&config_, member, text.c_str());
  }
  void set_arguments(std::vector<std::string> arguments) {
    std::vector<char*> pointers;
    pointers.reserve(arguments.size());
    for (std::string& argument : arguments) pointers.push_back(argument.data());
    if (PyStatus_Exception(status_)) return;
    status_ =
        PyConfig_SetBytesArgv(&config_, static_cast<Py_ssize_t>(pointers.size()), pointers.data());
  }
  PyStatus initialize() {
    return PyStatus_Exception(status_) ? status_ : Py_InitializeFromConfig(&config_);
  }

 private:
  PyConfig config_{};
  PyStatus status_ = PyStatus_Ok();
};

std::string status_text(const PyStatus& status) {
  if (status.err_msg != nullptr) return status.err_msg;
  return fmt::format("exit status {}", status.exitcode);
}

Started initialize(const PythonChoice& choice) {
  PyPreConfig preconfig{};
  PyPreConfig_InitPythonConfig(&preconfig);
  preconfig.parse_argv = 0;
  if (const PyStatus status = Py_PreInitialize(&preconfig); PyStatus_Exception(status))
    return refuse(fmt::format("Python did not start: {}", status_text(status)));
  Configuration config;
  config->parse_argv = 0;
  config->install_signal_handlers = 0;
  config->user_site_directory = 0;
  // Python takes a .pyc for current by the source's size and whole seconds: two deploys within a
  // second could serve the first one's code. Whoever wants a cache names its folder.
  if (::getenv("PYTHONPYCACHEPREFIX") == nullptr) config->write_bytecode = 0;
  config->site_import = choice.prefix.empty() ? 1 : 0;
  config.set(&config->home, GREEN_PYTHON_HOME);
  config.set(&config->program_name, choice.executable);
  config.set(&config->executable, choice.executable);
  config.set_arguments({"green-worker"});
  if (const PyStatus status = config.initialize(); PyStatus_Exception(status))
    return refuse(
        fmt::format("Python did not start ({}): {}", choice.executable, status_text(status)));
  return {};
}

/// sys.prefix and site-packages of an installation that is no venv and not the embedded Python's
/// own.
void adopt_installation(const PythonChoice& choice) {
  py::module_ sys = py::module_::import("sys");
  sys.attr("prefix") = choice.prefix;
  sys.attr("exec_prefix") = choice.prefix;
  py::module_ site = py::module_::import("site");
  site.attr("PREFIXES") = std::vector<std::string>{choice.prefix};
  site.attr("ENABLE_USER_SITE") = false;
  site.attr("main")();
  for (const std::string& directory : choice.site_directories)
    if (!sys.attr("path").contains(directory)) site.attr("addsitedir")(directory);
}

void put_first_on_path(const StringList& pythonpath) {
  py::object absolute = py::module_::import("os").attr("path").attr("abspath");
  py::list old = py::module_::import("sys").attr("path");
  py::list path;
  for (const std::string& folder : pythonpath)
    if (py::object entry = absolute(folder); !path.contains(entry)) path.append(entry);
  if (py::object entry = absolute("."); !path.contains(entry)) path.append(entry);
  for (const py::handle entry : old)
    if (!path.contains(entry)) path.append(entry);
  py::module_::import("sys").attr("path") = path;
}

/// It tells the application what it finds when it is first imported: workers have handlers of their
/// own, which signal.signal() could not put back. What it sets itself is put back.
void import_signal() {
  struct sigaction interrupt{};
  ::sigaction(SIGINT, nullptr, &interrupt);
  py::module_::import("_signal");
  ::sigaction(SIGINT, &interrupt, nullptr);
}

/// A whole line at a time: what several workers print to one journal stream stays readable.
void buffer_output_by_line() {
  for (const char* name : {"stdout", "stderr"}) {
    py::object stream = py::module_::import("sys").attr(name);
    if (!stream.is_none()) stream.attr("reconfigure")(py::arg("line_buffering") = true);
  }
}

}  // namespace

Started start_interpreter(const Settings& settings) {
  drop_python_variables();
  auto choice = choose_python(settings.python);
  if (!choice) return refuse(choice.error());
  if (auto applied = apply_environment(settings.env); !applied) return applied;
  if (!settings.chdir.empty() && ::chdir(settings.chdir.c_str()) < 0)
    return refuse(fmt::format("chdir = {}: {}", settings.chdir, std::strerror(errno)));
  if (auto started = initialize(*choice); !started) return started;
  try {
    if (!choice->prefix.empty()) adopt_installation(*choice);
    put_first_on_path(settings.pythonpath);
    buffer_output_by_line();
    log_standard_streams();
    import_signal();
    py::module_::import("traceback");  // now: when it is needed, memory or descriptors may be short
  } catch (py::error_already_set& error) {
    error.restore();
    return std::unexpected(LoadFailure{StartFailure::application, take_traceback()});
  }
  return {};
}

}  // namespace green::python
