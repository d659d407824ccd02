#include "python/app_loader.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cctype>

#include "python/traceback.h"

namespace green::python {
namespace {

namespace py = pybind11;

std::unexpected<LoadFailure> refuse(std::string text) {
  return std::unexpected(LoadFailure{StartFailure::configuration, std::move(text)});
}

std::unexpected<LoadFailure> application_raised(py::error_already_set& error) {
  error.restore();
  return std::unexpected(LoadFailure{StartFailure::application, take_traceback()});
}

/// Letters of any script count: Python decides what an identifier is; here only the shape is
/// checked.
bool is_identifier(std::string_view text) {
  if (text.empty() || std::isdigit(static_cast<unsigned char>(text.front())) != 0) return false;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x80 && std::isalnum(byte) == 0 && c != '_') return false;
  }
  return true;
}

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  for (std::size_t start = 0;;) {
    const std::size_t end = text.find(separator, start);
    parts.emplace_back(text.substr(start, end - start));
    if (end == std::string_view::npos) return parts;
    start = end + 1;
  }
}

bool are_identifiers(const std::vector<std::string>& parts) {
  for (const std::string& part : parts)
    if (!is_identifier(part)) return false;
  return true;
}

/// " (did you mean 'app'?)", or nothing. Only ever decorates an error: its own errors are dropped.
std::string suggestion(const std::string& name, const py::object& candidates) {
  try {
    const auto near = py::module_::import("difflib")
                          .attr("get_close_matches")(name, candidates, 3, 0.6)
                          .cast<std::vector<std::string>>();
    if (near.empty()) return {};
    return fmt::format(" (did you mean '{}'?)", fmt::join(near, "', '"));
  } catch (const py::error_already_set&) {
    return {};
  } catch (const py::cast_error&) {
    return {};
  }
}

/// Names of the modules beside the one that is missing: in its package, or first on sys.path.
py::object modules_beside(const std::string& module) {
  const auto dot = module.rfind('.');
  py::object path;
  if (dot == std::string::npos) {
    path = py::module_::import("sys").attr("path");
  } else {
    py::dict loaded = py::module_::import("sys").attr("modules");
    const py::str parent(module.substr(0, dot));
    if (!loaded.contains(parent)) return py::list();
    path = py::getattr(loaded[parent], "__path__", py::list());
  }
  py::list names;
  for (const py::handle found : py::module_::import("pkgutil").attr("iter_modules")(path))
    names.append(found.attr("name"));
  return names;
}

std::string missing_module_suggestion(const std::string& module) {
  const auto dot = module.rfind('.');
  try {
    return suggestion(dot == std::string::npos ? module : module.substr(dot + 1),
                      modules_beside(module));
  } catch (const py::error_already_set&) {
    return {};
  }
}

/// The module or package of `module` that does not exist, where that is what `error` says; else "".
std::string missing_part(const py::error_already_set& error, const std::string& module) {
  if (!error.matches(PyExc_ModuleNotFoundError)) return {};
  const py::object name = py::getattr(error.value(), "name", py::none());
  if (!py::isinstance<py::str>(name)) return {};
  const auto missing = name.cast<std::string>();
  return module == missing || module.starts_with(missing + ".") ? missing : std::string();
}

std::expected<py::object, LoadFailure> import_module(const std::string& app,
                                                     const std::string& module) {
  try {
    return py::module_::import(module.c_str());
  } catch (py::error_already_set& error) {
    const std::string missing = missing_part(error, module);
    if (missing.empty()) return application_raised(error);
    return refuse(fmt::format("app = {}: no module named '{}'{}", app, missing,
                              module.ends_with(".py") ? " (a module is named without its .py)"
                                                      : missing_module_suggestion(missing)));
  }
}

std::expected<py::object, LoadFailure> find_attribute(const std::string& app,
                                                      const py::object& owner,
                                                      const std::string& owner_name,
                                                      const std::string& attribute) {
  try {
    return owner.attr(attribute.c_str()).cast<py::object>();
  } catch (py::error_already_set& error) {
    if (!error.matches(PyExc_AttributeError)) return application_raised(error);
    return refuse(fmt::format(
        "app = {}: '{}' has no attribute '{}'{}", app, owner_name, attribute,
        suggestion(attribute, py::reinterpret_steal<py::object>(PyObject_Dir(owner.ptr())))));
  }
}

std::string type_name(const py::object& object) { return Py_TYPE(object.ptr())->tp_name; }

std::expected<PyRef, LoadFailure> default_application(const std::string& app,
                                                      const py::object& module) {
  for (const char* name : {"application", "app"}) {
    if (!py::hasattr(module, name)) continue;
    const py::object found = module.attr(name);
    if (PyCallable_Check(found.ptr()) == 0)
      return refuse(fmt::format("app = {}: '{}.{}' is not callable (it is a {})", app, app, name,
                                type_name(found)));
    return PyRef::borrow(found.ptr());
  }
  return refuse(fmt::format(
      "app = {}: module '{}' has neither 'application' nor 'app'; name one, as in {}:name", app,
      app, app));
}

std::expected<PyRef, LoadFailure> resolve(const std::string& app, const AppName& name) {
  auto module = import_module(app, name.module);
  if (!module) return std::unexpected(module.error());
  if (name.attributes.empty()) return default_application(app, *module);
  py::object object = *module;
  std::string path = name.module;
  for (const std::string& attribute : name.attributes) {
    auto found = find_attribute(app, object, path, attribute);
    if (!found) return std::unexpected(found.error());
    object = std::move(*found);
    path += '.' + attribute;
  }
  if (PyCallable_Check(object.ptr()) == 0)
    return refuse(
        fmt::format("app = {}: '{}' is not callable (it is a {})", app, path, type_name(object)));
  if (name.is_factory) {
    object = object();
    if (PyCallable_Check(object.ptr()) == 0)
      return refuse(fmt::format("app = {}: what '{}()' returned is not callable (it is a {})", app,
                                path, type_name(object)));
  }
  return PyRef::borrow(object.ptr());
}

}  // namespace

std::expected<AppName, std::string> parse_app_name(std::string_view text) {
  const auto refuse_name = [text](std::string_view why) {
    return std::unexpected(fmt::format(
        "app = {}: {}; it must be module:name, module:name.name, module:factory() or module", text,
        why));
  };
  AppName name;
  const std::size_t colon = text.find(':');
  name.module = text.substr(0, colon);
  if (name.module.contains('/')) return refuse_name("a module is named with dots, not as a path");
  if (!are_identifiers(split(name.module, '.'))) return refuse_name("bad module name");
  if (colon == std::string_view::npos) return name;
  std::string_view rest = text.substr(colon + 1);
  if (rest.ends_with("()")) {
    name.is_factory = true;
    rest.remove_suffix(2);
  } else if (rest.ends_with(')')) {
    return refuse_name("a factory is called without arguments");
  }
  name.attributes = split(rest, '.');
  if (!are_identifiers(name.attributes)) return refuse_name("bad name after the colon");
  return name;
}

std::expected<PyRef, LoadFailure> load_application(const std::string& app) {
  const auto name = parse_app_name(app);
  if (!name) return refuse(name.error());
  try {
    return resolve(app, *name);
  } catch (py::error_already_set& error) {
    return application_raised(error);
  }
}

}  // namespace green::python
