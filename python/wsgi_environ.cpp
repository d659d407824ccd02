#include "python/wsgi_environ.h"

#include <pybind11/pybind11.h>

#include <charconv>

#include "common/names.h"
#include "daemon/http/ascii.h"
#include "daemon/http/body.h"
#include "python/early_hints.h"
#include "python/file_wrapper.h"
#include "python/interned.h"
#include "python/latin1.h"
#include "python/percent_decode.h"
#include "python/wsgi_errors.h"

namespace green::python {
namespace {

namespace py = pybind11;

constexpr std::size_t maximum_cached_names = 512;

py::object taken(PyRef object) {
  if (!object) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(object.release());
}

/// What frames a body (RFC 9112, 6) is the server's business.
bool is_framing(std::string_view name) {
  return http::equals_ignoring_case(name, "content-length") ||
         http::equals_ignoring_case(name, "transfer-encoding");
}

std::string_view header_value(const http::Request& request, std::string_view lower_name) {
  for (const http::Header& header : request.headers)
    if (http::equals_ignoring_case(header.name, lower_name)) return header.value;
  return {};
}

/// "example.org:8080" → {"example.org", "8080"}; "[::1]" → {"[::1]", ""}.
std::pair<std::string_view, std::string_view> split_host(std::string_view host) {
  const std::size_t colon = host.rfind(':');
  if (colon == std::string_view::npos || host.ends_with(']')) return {host, {}};
  return {host.substr(0, colon), host.substr(colon + 1)};
}

/// SERVER_NAME and SERVER_PORT. A unix socket has neither, and PEP 3333 requires both: what the
/// client called us is the best left.
std::pair<std::string_view, std::string_view> server_of(const http::Request& request) {
  const http::Endpoints& ends = *request.endpoints;
  if (!ends.local_port.empty()) return {ends.local_address, ends.local_port};
  auto [name, port] = split_host(header_value(request, "host"));
  if (name.empty()) name = "localhost";
  if (port.empty()) port = request.scheme == "https" ? "443" : "80";
  return {name, port};
}

}  // namespace

WsgiEnviron::WsgiEnviron(Concurrency concurrency, const std::string& script_name)
    : script_name_(script_name),
      keys_{interned("REQUEST_METHOD"), interned("PATH_INFO"),       interned("QUERY_STRING"),
            interned("RAW_URI"),        interned("SERVER_PROTOCOL"), interned("SERVER_NAME"),
            interned("SERVER_PORT"),    interned("REMOTE_ADDR"),     interned("REMOTE_PORT"),
            interned("CONTENT_TYPE"),   interned("CONTENT_LENGTH"),  interned("wsgi.input"),
            interned("wsgi.url_scheme")},
      templates_(keys_.wsgi_input.get()) {
  py::dict base;
  put(base, "wsgi.input", py::none());  // room for it, in every copy
  // As a path of a request would be: its bytes, as latin-1.
  put(base, "SCRIPT_NAME", taken(latin1(script_name_)));
  put(base, "SERVER_SOFTWARE", "green/" + std::string(version));
  put(base, "wsgi.version", py::make_tuple(1, 0));
  put(base, "wsgi.errors", taken(make_wsgi_errors()));
  put(base, "wsgi.early_hints", taken(make_early_hints()));
  put(base, "wsgi.multithread", concurrency.threads);
  put(base, "wsgi.multiprocess", concurrency.processes);
  put(base, "wsgi.run_once", false);
  put(base, "wsgi.input_terminated", true);
  put(base, "wsgi.file_wrapper", taken(file_wrapper_type()));
  base_ = PyRef::steal(base.release().ptr());
}

PyRef WsgiEnviron::build(const http::Request& request, PyObject* input) {
  collect_values(request);
  built_by_ = templates_.find(request);
  if (built_by_ != nullptr) return built_by_->make(values_, input);
  PyRef environ = build_anew(request);
  if (!environ || PyDict_SetItem(environ.get(), keys_.wsgi_input.get(), input) < 0) return {};
  return environ;
}

bool WsgiEnviron::give_back(PyRef environ) {
  return built_by_ != nullptr && built_by_->give_back(std::move(environ));
}

std::optional<std::string_view> WsgiEnviron::path_info(const http::Request& request) {
  std::string_view path = request.path;
  // OPTIONS of the server as a whole: PEP 3333 has no other word for it (RAW_URI tells).
  if (path == "*") return std::string_view();
  if (path.contains('%')) {
    percent_decode(path, decoded_path_);
    path = decoded_path_;
  }
  if (script_name_.empty()) return path;
  if (!path.starts_with(script_name_)) return std::nullopt;
  path.remove_prefix(script_name_.size());
  if (!path.empty() && path.front() != '/') return std::nullopt;
  return path;
}

/// In the order of collect_keys().
void WsgiEnviron::collect_values(const http::Request& request) {
  const auto [server_name, server_port] = server_of(request);
  const std::string_view path = path_info(request).value_or(request.path);
  values_.assign({request.method, path, request.query, request.target,
                  request.version_minor == 0 ? "HTTP/1.0" : "HTTP/1.1", request.scheme, server_name,
                  server_port, request.endpoints->remote_address});
  if (!request.endpoints->remote_port.empty()) values_.push_back(request.endpoints->remote_port);
  bool has_body = false;
  for (const http::Header& header : request.headers) {
    if (is_framing(header.name))
      has_body = true;
    else
      values_.push_back(header.value);
  }
  if (!has_body) return;
  // The body was read whole, so its length is known however it was framed.
  const auto end =
      std::to_chars(digits_.data(), digits_.data() + digits_.size(), request.body->size());
  values_.emplace_back(digits_.data(), static_cast<std::size_t>(end.ptr - digits_.data()));
}

bool WsgiEnviron::collect_keys(const http::Request& request) {
  names_.assign({keys_.request_method.get(), keys_.path_info.get(), keys_.query_string.get(),
                 keys_.raw_uri.get(), keys_.server_protocol.get(), keys_.url_scheme.get(),
                 keys_.server_name.get(), keys_.server_port.get(), keys_.remote_addr.get()});
  if (!request.endpoints->remote_port.empty()) names_.push_back(keys_.remote_port.get());
  bool has_body = false;
  uncached_keys_.clear();
  for (const http::Header& header : request.headers) {
    if (is_framing(header.name)) {
      has_body = true;
      continue;
    }
    names_.push_back(http::equals_ignoring_case(header.name, "content-type")
                         ? keys_.content_type.get()
                         : key_of(header.name));
    if (names_.back() == nullptr) return false;
  }
  if (has_body) names_.push_back(keys_.content_length.get());
  return true;
}

PyRef WsgiEnviron::build_anew(const http::Request& request) {
  if (!collect_keys(request)) return {};
  PyRef environ = PyRef::steal(PyDict_Copy(base_.get()));
  if (!environ) return {};
  bool is_repeated = false;
  for (std::size_t i = 0; i < names_.size(); ++i) {
    const PyRef text = latin1(values_[i]);
    if (!text || !add(environ.get(), names_[i], text.get(), is_repeated)) return {};
  }
  if (!is_repeated && uncached_keys_.empty())
    templates_.learn(request, environ.get(), names_, values_);
  return environ;
}

bool WsgiEnviron::add(PyObject* environ, PyObject* key, PyObject* text, bool& is_repeated) const {
  const Py_ssize_t before = PyDict_Size(environ);
  PyObject* present = PyDict_SetDefault(environ, key, text);
  if (present == nullptr) return false;
  if (PyDict_Size(environ) > before) return true;
  // A repeated header (RFC 9110, 5.3; for Cookie, RFC 6265, 4.2.1).
  is_repeated = true;
  const char* separator = PyUnicode_CompareWithASCIIString(key, "HTTP_COOKIE") == 0 ? "; " : ",";
  const PyRef joined = PyRef::steal(PyUnicode_FromFormat("%U%s%U", present, separator, text));
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
  if (header_keys_.size() >= maximum_cached_names)
    return uncached_keys_.emplace_back(PyRef::steal(text)).get();
  PyUnicode_InternInPlace(&text);
  return header_keys_.emplace(std::string(name), PyRef::steal(text)).first->second.get();
}

}  // namespace green::python
