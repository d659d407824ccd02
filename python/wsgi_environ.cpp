#include "python/wsgi_environ.h"

#include <pybind11/pybind11.h>

#include <array>
#include <cctype>
#include <charconv>

#include "common/names.h"
#include "daemon/http/body.h"
#include "python/early_hints.h"
#include "python/wsgi_errors.h"

namespace green::python {
namespace {

namespace py = pybind11;

constexpr std::size_t maximum_cached_names = 512;

PyRef interned(const char* text) {
  PyRef key = PyRef::steal(PyUnicode_InternFromString(text));
  if (!key) throw py::error_already_set();
  return key;
}

py::object taken(PyRef object) {
  if (!object) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(object.release());
}

PyRef latin1(std::string_view text) {
  return PyRef::steal(
      PyUnicode_DecodeLatin1(text.data(), static_cast<Py_ssize_t>(text.size()), nullptr));
}

bool set_item(PyObject* environ, const PyRef& key, const PyRef& value) {
  return value && PyDict_SetItem(environ, key.get(), value.get()) == 0;
}

bool set_text(PyObject* environ, const PyRef& key, std::string_view text) {
  return set_item(environ, key, latin1(text));
}

bool equals_ignoring_case(std::string_view text, std::string_view lower) {
  if (text.size() != lower.size()) return false;
  for (std::size_t i = 0; i < text.size(); ++i)
    if ((text[i] >= 'A' && text[i] <= 'Z' ? text[i] - 'A' + 'a' : text[i]) != lower[i])
      return false;
  return true;
}

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

/// What is not a valid escape stays as it is, as in urllib.parse.unquote.
void percent_decode(std::string_view path, std::string& decoded) {
  decoded.clear();
  for (std::size_t i = 0; i < path.size(); ++i) {
    if (path[i] == '%' && i + 2 < path.size()) {
      const int high = hex_value(path[i + 1]);
      const int low = hex_value(path[i + 2]);
      if (high >= 0 && low >= 0) {
        decoded += static_cast<char>(high * 16 + low);
        i += 2;
        continue;
      }
    }
    decoded += path[i];
  }
}

std::string_view header_value(const http::Request& request, std::string_view lower_name) {
  for (const http::Header& header : request.headers)
    if (equals_ignoring_case(header.name, lower_name)) return header.value;
  return {};
}

/// "example.org:8080" → {"example.org", "8080"}; "[::1]" → {"[::1]", ""}.
std::pair<std::string_view, std::string_view> split_host(std::string_view host) {
  const std::size_t colon = host.rfind(':');
  if (colon == std::string_view::npos || host.ends_with(']')) return {host, {}};
  return {host.substr(0, colon), host.substr(colon + 1)};
}

}  // namespace

WsgiEnviron::WsgiEnviron(Concurrency concurrency)
    : keys_{interned("REQUEST_METHOD"), interned("PATH_INFO"),       interned("QUERY_STRING"),
            interned("RAW_URI"),        interned("SERVER_PROTOCOL"), interned("SERVER_NAME"),
            interned("SERVER_PORT"),    interned("REMOTE_ADDR"),     interned("REMOTE_PORT"),
            interned("CONTENT_TYPE"),   interned("CONTENT_LENGTH"),  interned("wsgi.input"),
            interned("wsgi.url_scheme")},
      http_1_0_(interned("HTTP/1.0")),
      http_1_1_(interned("HTTP/1.1")) {
  py::dict base;
  base["SCRIPT_NAME"] = "";
  base["SERVER_SOFTWARE"] = "green/" + std::string(version);
  base["wsgi.version"] = py::make_tuple(1, 0);
  base["wsgi.url_scheme"] = "http";
  base["wsgi.errors"] = taken(make_wsgi_errors());
  base["wsgi.early_hints"] = taken(make_early_hints());
  base["wsgi.multithread"] = concurrency.threads;
  base["wsgi.multiprocess"] = concurrency.processes;
  base["wsgi.run_once"] = false;
  base["wsgi.input_terminated"] = true;
  base["wsgi.file_wrapper"] = py::module_::import("wsgiref.util").attr("FileWrapper");
  base_ = PyRef::steal(base.release().ptr());
}

PyRef WsgiEnviron::build(const http::Request& request, PyObject* input) {
  PyRef environ = PyRef::steal(PyDict_Copy(base_.get()));
  if (!environ || PyDict_SetItem(environ.get(), keys_.wsgi_input.get(), input) < 0 ||
      !add_request_line(environ.get(), request) || !add_endpoints(environ.get(), request) ||
      !add_headers(environ.get(), request))
    return {};
  return environ;
}

bool WsgiEnviron::add_request_line(PyObject* environ, const http::Request& request) {
  const bool escaped = request.path.contains('%');
  if (escaped) percent_decode(request.path, decoded_path_);
  return set_text(environ, keys_.request_method, request.method) &&
         set_text(environ, keys_.path_info, escaped ? decoded_path_ : request.path) &&
         set_text(environ, keys_.query_string, request.query) &&
         set_text(environ, keys_.raw_uri, request.target) &&
         PyDict_SetItem(environ, keys_.server_protocol.get(),
                        (request.version_minor == 0 ? http_1_0_ : http_1_1_).get()) == 0;
}

bool WsgiEnviron::add_endpoints(PyObject* environ, const http::Request& request) const {
  const http::Endpoints& ends = *request.endpoints;
  std::string_view name = ends.local_address;
  std::string_view port = ends.local_port;
  if (port.empty()) {
    // A unix socket has neither, and PEP 3333 requires both: what the client called us is the best
    // left.
    std::tie(name, port) = split_host(header_value(request, "host"));
    if (name.empty()) name = "localhost";
    if (port.empty()) port = request.scheme == "https" ? "443" : "80";
  }
  if (request.scheme != "http" && !set_text(environ, keys_.url_scheme, request.scheme))
    return false;
  return set_text(environ, keys_.server_name, name) && set_text(environ, keys_.server_port, port) &&
         set_text(environ, keys_.remote_addr, ends.remote_address) &&
         (ends.remote_port.empty() || set_text(environ, keys_.remote_port, ends.remote_port));
}

bool WsgiEnviron::add_headers(PyObject* environ, const http::Request& request) {
  bool has_body = false;
  for (const http::Header& header : request.headers) {
    if (equals_ignoring_case(header.name, "content-length") ||
        equals_ignoring_case(header.name, "transfer-encoding")) {
      has_body = true;
      continue;
    }
    PyObject* key = equals_ignoring_case(header.name, "content-type") ? keys_.content_type.get()
                                                                      : key_of(header.name);
    if (key == nullptr || !add_header(environ, key, header.value)) return false;
  }
  if (!has_body) return true;
  // The body was read whole, so its length is known however it was framed.
  std::array<char, 24> digits{};
  const auto end =
      std::to_chars(digits.data(), digits.data() + digits.size(), request.body->size());
  return set_text(
      environ, keys_.content_length,
      std::string_view(digits.data(), static_cast<std::size_t>(end.ptr - digits.data())));
}

bool WsgiEnviron::add_header(PyObject* environ, PyObject* key, std::string_view value) {
  const PyRef text = latin1(value);
  if (!text) return false;
  const Py_ssize_t before = PyDict_Size(environ);
  PyObject* present = PyDict_SetDefault(environ, key, text.get());
  if (present == nullptr) return false;
  if (PyDict_Size(environ) > before) return true;
  // A repeated header (RFC 9110, 5.3; for Cookie, RFC 6265, 4.2.1).
  const char* separator = PyUnicode_CompareWithASCIIString(key, "HTTP_COOKIE") == 0 ? "; " : ",";
  const PyRef joined = PyRef::steal(PyUnicode_FromFormat("%U%s%U", present, separator, text.get()));
  return joined && PyDict_SetItem(environ, key, joined.get()) == 0;
}

PyObject* WsgiEnviron::key_of(std::string_view name) {
  if (const auto known = header_keys_.find(name); known != header_keys_.end())
    return known->second.get();
  std::string key = "HTTP_";
  for (const char c : name)
    key += c == '-' ? '_' : (c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c);
  PyObject* text = PyUnicode_DecodeLatin1(key.data(), static_cast<Py_ssize_t>(key.size()), nullptr);
  if (text == nullptr) return nullptr;
  if (header_keys_.size() >= maximum_cached_names) {
    uncached_key_ = PyRef::steal(text);
    return text;
  }
  PyUnicode_InternInPlace(&text);
  return header_keys_.emplace(std::string(name), PyRef::steal(text)).first->second.get();
}

}  // namespace green::python
