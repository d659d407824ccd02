// wsgi.early_hints: environ["wsgi.early_hints"]([("Link", "</a.css>; rel=preload")]) sends a 103
// before the reply. One object for all requests: it sends on the exchange whose call its thread
// runs. With the GIL.
#pragma once

#include "daemon/http/application.h"
#include "python/py_ref.h"

namespace green::python {

/// The callable. Empty, with a Python exception set, when out of memory.
PyRef make_early_hints();

/// While this lives, hints from this thread go to `exchange`.
class EarlyHintsScope {
 public:
  explicit EarlyHintsScope(http::Exchange& exchange);
  EarlyHintsScope(const EarlyHintsScope&) = delete;
  EarlyHintsScope& operator=(const EarlyHintsScope&) = delete;
  ~EarlyHintsScope();
};

}  // namespace green::python
