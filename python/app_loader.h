// Finds the application that settings.app names. The interpreter's thread, with the GIL.
#pragma once

#include <expected>
#include <string>
#include <string_view>
#include <vector>

#include "python/py_ref.h"
#include "python/runtime.h"

namespace green::python {

/// "shop.wsgi:site.app" → {"shop.wsgi", {"site", "app"}, false}; "shop:make()" → is_factory;
/// "shop" → no attributes.
struct AppName {
  std::string module;
  std::vector<std::string> attributes;
  bool is_factory = false;
};

/// The error is one line that quotes `text`.
std::expected<AppName, std::string> parse_app_name(std::string_view text);

/// Imports the module and resolves the attribute. What the operator named wrongly (no such module
/// or attribute, not callable) is `configuration`, in one line; whatever the application's own code
/// raises meanwhile, SystemExit and KeyboardInterrupt included, is `application`, with the
/// traceback.
std::expected<PyRef, LoadFailure> load_application(const std::string& app);

}  // namespace green::python
