// One interpreter for the whole test program, and helpers to talk to it.
#pragma once

#include <gtest/gtest.h>
#include <pybind11/embed.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <string_view>

#include "common/settings.h"
#include "python/py_ref.h"
#include "python/runtime.h"
#include "tests/python/temporary_folder.h"

namespace green::python {

/// The folder that is first on sys.path of the test program's interpreter.
inline TemporaryFolder& site_folder() {
  static TemporaryFolder folder;
  return folder;
}

inline std::unique_ptr<Runtime>& test_runtime() {
  static std::unique_ptr<Runtime> runtime;
  return runtime;
}

class PythonEnvironment : public ::testing::Environment {
 public:
  void SetUp() override {
    Settings settings;
    settings.app = "unused";
    settings.pythonpath = {site_folder().string()};
    settings.env = {{"PYTHONDONTWRITEBYTECODE", "1"}};
    auto runtime = Runtime::create(settings);
    ASSERT_TRUE(runtime) << runtime.error().text;
    test_runtime() = std::move(*runtime);
  }
  void TearDown() override {
    test_runtime()->finalize();
    test_runtime().reset();
  }
};

inline const ::testing::Environment* const python_environment =
    ::testing::AddGlobalTestEnvironment(new PythonEnvironment);

/// Runs statements; returns the namespace they ran in.
inline pybind11::dict run_python(std::string_view code) {
  pybind11::dict names;
  names["__builtins__"] = pybind11::module_::import("builtins");
  pybind11::exec(std::string(code), names);
  return names;
}

/// A module of this name for the loader to find.
inline void write_module(const std::string& file, std::string_view code) {
  site_folder().write(file, code);
  pybind11::module_::import("importlib").attr("invalidate_caches")();
}

}  // namespace green::python
