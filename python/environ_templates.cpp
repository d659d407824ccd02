#include "python/environ_templates.h"

#include <cstring>

#include "daemon/http/ascii.h"
#include "python/latin1.h"

namespace green::python {
namespace {

/// A value that changed as often is set for each request, without a comparison.
constexpr unsigned char many_changes = 8;
/// Longer values are not kept from request to request.
constexpr std::size_t longest_kept = 512;
constexpr std::size_t longest_names = 2048;

/// Of a str that latin1() made.
std::string_view text_of(PyObject* text) {
  return {reinterpret_cast<const char*>(PyUnicode_1BYTE_DATA(text)),
          static_cast<std::size_t>(PyUnicode_GET_LENGTH(text))};
}

std::size_t hash(const http::Request& request) {
  std::size_t mixed = request.headers.size();
  for (const http::Header& header : request.headers) {
    const auto first = static_cast<unsigned char>(header.name.empty() ? 0 : header.name.front());
    mixed = mixed * 31 + header.name.size() * 256 + first;
  }
  return mixed;
}

/// A number that no later state of the dict has: CPython counts changes of dicts. 0 where it does
/// not tell.
std::uint64_t version_of(PyObject* dict) {
#if PY_VERSION_HEX < 0x030C0000
  return reinterpret_cast<PyDictObject*>(dict)->ma_version_tag;
#else
  static_cast<void>(dict);
  return 0;
#endif
}

/// Credentials do not stay in memory past their request.
bool is_secret(PyObject* key) {
  for (const char* secret : {"HTTP_COOKIE", "HTTP_AUTHORIZATION", "HTTP_PROXY_AUTHORIZATION"})
    if (PyUnicode_CompareWithASCIIString(key, secret) == 0) return true;
  return false;
}

}  // namespace

bool EnvironTemplate::fits(const http::Request& request) const {
  if (!dict_ || has_remote_port_ == request.endpoints->remote_port.empty()) return false;
  std::string_view rest = names_;
  for (const http::Header& header : request.headers) {
    const std::size_t size = header.name.size();
    if (rest.size() <= size || rest[size] != '\n' ||
        std::memcmp(rest.data(), header.name.data(), size) != 0)
      return false;
    rest.remove_prefix(size + 1);
  }
  return rest.empty();
}

PyRef EnvironTemplate::make(const std::vector<std::string_view>& values, PyObject* input) {
  PyRef environ = std::move(spare_);
  const bool is_spare = environ && is_untouched(environ.get());
  if (!is_spare) environ = PyRef::steal(PyDict_Copy(dict_.get()));
  if (!environ) return {};
  if ((!is_spare || input != input_of_last_) &&
      PyDict_SetItem(environ.get(), input_key_, input) < 0)
    return {};
  input_of_last_ = input;
  for (std::size_t i = 0; i < values.size(); ++i) {
    Variable& variable = variables_[i];
    if (variable.value && text_of(variable.value.get()) == values[i]) continue;
    PyRef text = latin1(values[i]);
    if (!text || PyDict_SetItem(environ.get(), variable.key, text.get()) < 0) return {};
    if (!variable.value) continue;
    if (++variable.changes >= many_changes || values[i].size() > longest_kept) {
      if (PyDict_SetItem(dict_.get(), variable.key, Py_None) < 0) return {};
      variable.value.reset();
    } else {
      if (PyDict_SetItem(dict_.get(), variable.key, text.get()) < 0) return {};
      variable.value = std::move(text);
    }
  }
  version_of_last_ = version_of(environ.get());
  return environ;
}

bool EnvironTemplate::is_untouched(PyObject* environ) const {
  return version_of_last_ != 0 && Py_REFCNT(environ) == 1 &&
         version_of(environ) == version_of_last_;
}

bool EnvironTemplate::give_back(PyRef environ) {
  if (has_secrets_ || !is_untouched(environ.get())) return false;
  spare_ = std::move(environ);
  return true;
}

EnvironTemplate* EnvironTemplates::find(const http::Request& request) {
  Place& place = places_[hash(request) % places_.size()];
  return place.kept.fits(request) ? &place.kept : nullptr;
}

void EnvironTemplates::learn(const http::Request& request, PyObject* environ,
                             const std::vector<PyObject*>& keys,
                             const std::vector<std::string_view>& values) {
  const std::size_t hashed = hash(request);
  Place& place = places_[hashed % places_.size()];
  if (std::exchange(place.last_missed, hashed) != hashed) return;
  EnvironTemplate made;
  for (const http::Header& header : request.headers) made.names_.append(header.name).append("\n");
  if (made.names_.size() > longest_names) return;
  made.has_remote_port_ = !request.endpoints->remote_port.empty();
  made.dict_ = PyRef::steal(PyDict_Copy(environ));
  if (!made.dict_) return PyErr_Clear();
  made.input_key_ = input_key_;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    PyRef value;
    const bool is_kept_out = is_secret(keys[i]);
    made.has_secrets_ = made.has_secrets_ || is_kept_out;
    if (values[i].size() <= longest_kept && !is_kept_out)
      value = PyRef::borrow(PyDict_GetItemWithError(environ, keys[i]));
    else if (PyDict_SetItem(made.dict_.get(), keys[i], Py_None) < 0)
      return PyErr_Clear();
    made.variables_.push_back({.key = keys[i], .value = std::move(value)});
  }
  // All it holds is immutable or lives as long as the process: nothing for the collector to walk,
  // nor for the application to find there. A copy is tracked once it holds anything else.
  PyObject_GC_UnTrack(made.dict_.get());
  place.kept = std::move(made);
}

}  // namespace green::python
