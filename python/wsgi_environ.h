// The environ dict of a request (PEP 3333). One thread, with the GIL.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "daemon/http/application.h"
#include "python/environ_templates.h"
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
  /// `script_name`: "/shop", or empty.
  explicit WsgiEnviron(Concurrency concurrency, const std::string& script_name = {});

  /// Whether the request's path is within script_name.
  bool is_mounted(const http::Request& request) {
    return script_name_.empty() || path_info(request).has_value();
  }

  /// A dict of the request's own, or empty with a Python exception set. `input` becomes wsgi.input.
  PyRef build(const http::Request& request, PyObject* input);
  /// The call that the last one was built for is over. Whether it is kept, with its wsgi.input, to
  /// serve a later request: only where the application neither kept nor changed it.
  bool give_back(PyRef environ);

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

  /// The decoded path without script_name; nullopt where it does not begin with that.
  std::optional<std::string_view> path_info(const http::Request& request);
  void collect_values(const http::Request& request);
  /// False with a Python exception set, as below.
  bool collect_keys(const http::Request& request);
  PyRef build_anew(const http::Request& request);
  bool add(PyObject* environ, PyObject* key, PyObject* text, bool& is_repeated) const;
  /// The environ key of a header as received ("X-Thing" → HTTP_X_THING), borrowed; null on an
  /// error.
  PyObject* key_of(std::string_view name);

  const std::string script_name_;
  Keys keys_;
  PyRef base_;
  /// By name as received. Bounded: names from outside must not fill memory.
  std::unordered_map<std::string, PyRef, TextHash, std::equal_to<>> header_keys_;
  EnvironTemplates templates_;
  EnvironTemplate* built_by_ = nullptr;  ///< the last environ; null: by none
  // Of the request under way:
  std::vector<std::string_view> values_;
  std::vector<PyObject*> names_;      ///< the keys of values_, borrowed
  std::vector<PyRef> uncached_keys_;  ///< of names past the bound
  std::string decoded_path_;
  std::array<char, 24> digits_{};
};

}  // namespace green::python
