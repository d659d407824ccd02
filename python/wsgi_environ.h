// The environ dict of a request (PEP 3333). One thread, with the GIL.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>

#include "daemon/http/application.h"
#include "python/py_ref.h"

namespace green::python {

/// Whether other processes, or other threads of this one, call the same application meanwhile.
struct Concurrency {
  bool processes = false;
  bool threads = false;
};

class WsgiEnviron {
 public:
  /// Makes what is the same for every request. Throws pybind11::error_already_set.
  explicit WsgiEnviron(Concurrency concurrency);

  /// A new dict, or empty with a Python exception set. `input` becomes wsgi.input.
  PyRef build(const http::Request& request, PyObject* input);

 private:
  struct Keys {
    PyRef request_method, path_info, query_string, raw_uri, server_protocol, server_name,
        server_port, remote_addr, remote_port, content_type, content_length, wsgi_input, url_scheme;
  };
  struct TextHash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const {
      return std::hash<std::string_view>{}(text);
    }
  };

  bool add_request_line(PyObject* environ, const http::Request& request);
  bool add_endpoints(PyObject* environ, const http::Request& request) const;
  bool add_headers(PyObject* environ, const http::Request& request);
  bool add_header(PyObject* environ, PyObject* key, std::string_view value);
  /// The environ key of a header as received ("X-Thing" → HTTP_X_THING), borrowed; null on an
  /// error.
  PyObject* key_of(std::string_view name);

  Keys keys_;
  PyRef base_;
  PyRef http_1_0_;
  PyRef http_1_1_;
  /// By name as received. Bounded: names from outside must not fill memory.
  std::unordered_map<std::string, PyRef, TextHash, std::equal_to<>> header_keys_;
  PyRef uncached_key_;  ///< keeps the key of a name past the bound alive while it is used
  std::string decoded_path_;
};

}  // namespace green::python
