// The scope dict of a request (ASGI 3, HTTP 2.5). Loop thread, with the GIL.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "daemon/http/application.h"
#include "python/py_ref.h"

namespace green::python {

class AsgiScope {
 public:
  /// `root_path`: "/shop", or empty. Throws pybind11::error_already_set.
  explicit AsgiScope(const std::string& root_path = {});

  /// Whether the request's path is within root_path.
  bool is_mounted(const http::Request& request);

  /// A new dict, or empty with a Python exception set. `state` is copied into it.
  PyRef build(const http::Request& request, PyObject* state);

 private:
  struct Keys {
    PyRef http_version, method, scheme, path, raw_path, query_string, headers, client, server,
        state, asgi, extensions;
  };
  /// A header of an earlier request, at the same place: most clients send the same ones again.
  struct KnownHeader {
    std::string name;  ///< as received
    std::string value;
    PyRef pair;  ///< (lower-cased name, value); empty: none
  };
  /// One end of a connection, likewise.
  struct KnownEnd {
    std::string address;
    std::string port;
    PyRef text;  ///< the address
    PyRef value;
  };

  std::string_view decoded_path(const http::Request& request);
  PyRef header_list(std::span<const http::Header> headers);
  PyRef header_pair(const http::Header& header, std::size_t index);
  static PyRef end_of(KnownEnd& known, const std::string& address, const std::string& port,
                      bool may_be_path);
  PyRef method_of(std::string_view method);

  const std::string root_path_;
  Keys keys_;
  PyRef base_;
  PyRef asgi_;
  PyRef extensions_;
  PyRef get_, post_, http_, https_, version_1_0_;
  std::vector<KnownHeader> known_headers_;
  KnownEnd known_client_;
  KnownEnd known_server_;
  std::string decoded_path_;
  std::string lower_name_;
};

}  // namespace green::python
