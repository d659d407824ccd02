// Requests that look alike: what a client repeats with each request (header names, most values) is
// kept as a dict that the next environ is copied from, and only what differs is set. One thread,
// with the GIL.
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/http/application.h"
#include "python/py_ref.h"

namespace green::python {

/// The environ of requests with the same header names in the same order.
class EnvironTemplate {
 public:
  /// Whether `request` has just these header names, and a client's port or none.
  bool fits(const http::Request& request) const;
  /// A new dict with the variables it was made of, and these values, in their order; empty with a
  /// Python exception set.
  PyRef copy(const std::vector<std::string_view>& values);

 private:
  friend class EnvironTemplates;

  struct Variable {
    PyObject* key;  ///< borrowed: the dict has it
    PyRef value;    ///< that of the dict; empty where it is not to be kept
    unsigned char changes = 0;
  };

  std::string names_;  ///< as received, a line each
  bool has_remote_port_ = false;
  PyRef dict_;
  std::vector<Variable> variables_;
};

/// A bounded number of them.
class EnvironTemplates {
 public:
  /// Null where there is none for such a request.
  EnvironTemplate* find(const http::Request& request);
  /// Keeps `environ`, made of this request with these keys (none twice) and values, if the last
  /// request without a template was like it: what comes once must not push out what comes often.
  /// Out of memory, nothing is kept.
  void learn(const http::Request& request, PyObject* environ, const std::vector<PyObject*>& keys,
             const std::vector<std::string_view>& values);

 private:
  struct Place {
    EnvironTemplate kept;
    std::size_t last_missed = 0;  ///< hash of the last request that found none here
  };

  std::array<Place, 16> places_;
};

}  // namespace green::python
