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

PyRef EnvironTemplate::copy(const std::vector<std::string_view>& values) {
  PyRef environ = PyRef::steal(PyDict_Copy(dict_.get()));
  if (!environ) return {};
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
  return environ;
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
  for (std::size_t i = 0; i < keys.size(); ++i) {
    PyRef value;
    if (values[i].size() <= longest_kept && !is_secret(keys[i]))
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
