#include "python/asgi_scope.h"

#include <pybind11/pybind11.h>

#include <charconv>

#include "daemon/http/ascii.h"
#include "python/interned.h"
#include "python/percent_decode.h"

namespace green::python {
namespace {

namespace py = pybind11;

constexpr std::size_t most_known_headers = 64;
/// Longer values are not kept from request to request.
constexpr std::size_t longest_known_value = 512;

PyRef taken(py::object object) { return PyRef::steal(object.release().ptr()); }

PyRef bytes(std::string_view text) {
  return PyRef::steal(PyBytes_FromStringAndSize(text.data(), static_cast<Py_ssize_t>(text.size())));
}

PyRef utf8(std::string_view text) {
  return PyRef::steal(
      PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "replace"));
}

/// Credentials do not stay in memory past their request.
bool is_secret(std::string_view name) {
  for (const std::string_view secret : {"cookie", "authorization", "proxy-authorization"})
    if (http::equals_ignoring_case(name, secret)) return true;
  return false;
}

}  // namespace

AsgiScope::AsgiScope(const std::string& root_path)
    : root_path_(root_path),
      keys_{interned("http_version"), interned("method"),   interned("scheme"),
            interned("path"),         interned("raw_path"), interned("query_string"),
            interned("headers"),      interned("client"),   interned("server"),
            interned("state"),        interned("asgi"),     interned("extensions")},
      get_(interned("GET")),
      post_(interned("POST")),
      http_(interned("http")),
      https_(interned("https")),
      version_1_0_(interned("1.0")) {
  py::dict asgi;
  put(asgi, "version", "3.0");
  put(asgi, "spec_version", "2.5");
  asgi_ = taken(asgi);
  py::dict extensions;
  for (const char* name :
       {"http.response.pathsend", "http.response.early_hint", "http.response.trailers"})
    put(extensions, name, py::dict());
  extensions_ = taken(extensions);
  py::dict base;
  // In the order of the specification, with room for what each request has of its own.
  put(base, "type", py::reinterpret_borrow<py::object>(http_.get()));
  put(base, "asgi", py::none());
  put(base, "http_version", "1.1");
  put(base, "method", py::none());
  put(base, "scheme", py::none());
  put(base, "path", py::none());
  put(base, "raw_path", py::none());
  put(base, "query_string", py::bytes());
  put(base, "root_path", root_path_);
  for (const char* name : {"headers", "client", "server", "state", "extensions"})
    put(base, name, py::none());
  base_ = taken(base);
}

std::string_view AsgiScope::decoded_path(const http::Request& request) {
  if (!request.path.contains('%')) return request.path;
  percent_decode(request.path, decoded_path_);
  return decoded_path_;
}

bool AsgiScope::is_mounted(const http::Request& request) {
  if (root_path_.empty() || request.path == "*") return true;
  std::string_view path = decoded_path(request);
  if (!path.starts_with(root_path_)) return false;
  path.remove_prefix(root_path_.size());
  return path.empty() || path.front() == '/';
}

PyRef AsgiScope::method_of(std::string_view method) {
  if (method == "GET") return PyRef::borrow(get_.get());
  if (method == "POST") return PyRef::borrow(post_.get());
  return utf8(method);
}

PyRef AsgiScope::header_pair(const http::Header& header, std::size_t index) {
  if (index < known_headers_.size()) {
    const KnownHeader& known = known_headers_[index];
    if (known.pair && known.value == header.value && known.name == header.name)
      return PyRef::borrow(known.pair.get());
  }
  lower_name_.assign(header.name);
  for (char& c : lower_name_)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  PyRef name = bytes(lower_name_);
  PyRef value = bytes(header.value);
  if (!name || !value) return {};
  PyRef pair = PyRef::steal(PyTuple_Pack(2, name.get(), value.get()));
  if (index >= most_known_headers) return pair;
  if (index >= known_headers_.size()) known_headers_.resize(index + 1);
  KnownHeader& place = known_headers_[index];
  place.pair.reset();
  if (header.value.size() > longest_known_value || is_secret(header.name)) {
    place.value.clear();
    return pair;
  }
  place.name.assign(header.name);
  place.value.assign(header.value);
  place.pair = PyRef::borrow(pair.get());
  return pair;
}

PyRef AsgiScope::header_list(std::span<const http::Header> headers) {
  PyRef list = PyRef::steal(PyList_New(static_cast<Py_ssize_t>(headers.size())));
  if (!list) return {};
  for (std::size_t i = 0; i < headers.size(); ++i) {
    PyRef pair = header_pair(headers[i], i);
    if (!pair) return {};
    PyList_SET_ITEM(list.get(), static_cast<Py_ssize_t>(i), pair.release());
  }
  return list;
}

/// (address, port), or None for what has none; of a server's unix socket, its path and None.
PyRef AsgiScope::end_of(KnownEnd& known, const std::string& address, const std::string& port,
                        bool may_be_path) {
  if (known.value && known.port == port && known.address == address)
    return PyRef::borrow(known.value.get());
  PyRef value;
  int number = 0;
  const bool has_port =
      std::from_chars(port.data(), port.data() + port.size(), number).ec == std::errc{};
  if (address.empty() || (!has_port && port.empty() && !may_be_path && address.front() == '/')) {
    value = PyRef::borrow(Py_None);
  } else {
    // Another connection, often of the same client or proxy.
    if (!known.text || known.address != address) known.text = utf8(address);
    const PyRef port_number =
        has_port || !may_be_path ? PyRef::steal(PyLong_FromLong(number)) : PyRef::borrow(Py_None);
    if (!known.text || !port_number) return {};
    value = PyRef::steal(PyTuple_Pack(2, known.text.get(), port_number.get()));
  }
  if (!value) return {};
  known.address = address;
  known.port = port;
  known.value = PyRef::borrow(value.get());
  return value;
}

PyRef AsgiScope::build(const http::Request& request, PyObject* state) {
  PyRef scope = PyRef::steal(PyDict_Copy(base_.get()));
  if (!scope) return {};
  const auto set = [&scope](const PyRef& key, const PyRef& value) {
    return value && PyDict_SetItem(scope.get(), key.get(), value.get()) == 0;
  };
  const http::Endpoints& ends = *request.endpoints;
  const bool is_set =
      set(keys_.asgi, PyRef::steal(PyDict_Copy(asgi_.get()))) &&
      (request.version_minor != 0 || set(keys_.http_version, version_1_0_)) &&
      set(keys_.method, method_of(request.method)) &&
      set(keys_.scheme, request.scheme == "http" ? http_ : https_) &&
      set(keys_.path, utf8(decoded_path(request))) && set(keys_.raw_path, bytes(request.path)) &&
      (request.query.empty() || set(keys_.query_string, bytes(request.query))) &&
      set(keys_.headers, header_list(request.headers)) &&
      set(keys_.client, end_of(known_client_, ends.remote_address, ends.remote_port, false)) &&
      set(keys_.server, end_of(known_server_, ends.local_address, ends.local_port, true)) &&
      set(keys_.state, PyRef::steal(PyDict_Copy(state))) &&
      set(keys_.extensions, PyRef::steal(PyDict_Copy(extensions_.get())));
  if (!is_set) return {};
  return scope;
}

}  // namespace green::python
