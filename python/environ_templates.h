// Requests that look alike: what a client repeats with each request (header names, most values) is
// kept as a dict that the next environ is copied from, and only what differs is set. An environ
// that an application only read serves again. One thread, with the GIL.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/http/application.h"
#include "python/py_ref.h"

namespace green::python {

/// Whether CPython tells when a dict was changed: without that, no environ serves again.
inline constexpr bool tells_changes = PY_VERSION_HEX < 0x030C0000;

/// The environ of requests with the same header names in the same order.
class EnvironTemplate {
 public:
  /// Whether `request` has just these header names, and a client's port or none.
  bool fits(const http::Request& request) const;
  /// A dict with the variables it was made of, and these values, in their order: one that was given
  /// back, or a copy. Empty with a Python exception set.
  PyRef make(const std::vector<std::string_view>& values, PyObject* input);
  /// The call that make()'s last was for is over. Whether it is kept for the next one: where nobody
  /// else has it, nothing in it was changed, and nothing is secret.
  bool give_back(PyRef environ);

 private:
  friend class EnvironTemplates;

  /// Nobody has it or had a hand in it since make().
  bool is_untouched(PyObject* environ) const;

  struct Variable {
    PyObject* key;  ///< borrowed: the dict has it
    PyRef value;    ///< that of the dict; empty where it is not to be kept
    unsigned char changes = 0;
  };

  std::string names_;  ///< as received, a line each
  bool has_remote_port_ = false;
  bool has_secrets_ = false;
  PyRef dict_;
  std::vector<Variable> variables_;
  PyObject* input_key_ = nullptr;  ///< borrowed
  /// The last that was made, if it was given back: what dict_ has, it has too, but for values that
  /// each request sets.
  PyRef spare_;
  PyObject* input_of_last_ = nullptr;  ///< only to be compared
  std::uint64_t version_of_last_ = 0;
};

/// A bounded number of them.
class EnvironTemplates {
 public:
  explicit EnvironTemplates(PyObject* input_key) : input_key_(input_key) {}

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

  PyObject* input_key_;  ///< borrowed
  std::array<Place, 16> places_;
};

}  // namespace green::python
