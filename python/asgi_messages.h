// The messages of ASGI's HTTP part: dicts, told apart by "type". Loop thread, with the GIL.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/http/application.h"
#include "python/py_ref.h"

namespace green::python {

enum class AsgiSend { start, body, early_hint, pathsend, trailers };

/// Bytes of a message, which it holds while this lives.
class MessageBytes {
 public:
  MessageBytes() = default;
  MessageBytes(const MessageBytes&) = delete;
  MessageBytes& operator=(const MessageBytes&) = delete;
  ~MessageBytes() {
    if (buffer_.obj != nullptr) PyBuffer_Release(&buffer_);
  }
  /// False with an exception set.
  bool read(PyObject* object);
  std::string_view view() const { return view_; }

 private:
  std::string_view view_;
  PyRef bytes_;
  Py_buffer buffer_{};
};

/// Headers of a message: views of its bytes, and what keeps those, whatever becomes of the message.
struct MessageHeaders {
  std::vector<http::Header> views;
  std::vector<PyRef> kept;
  void clear() {
    views.clear();
    kept.clear();
  }
};

class AsgiMessages {
 public:
  /// Throws pybind11::error_already_set.
  AsgiMessages();

  // What the application sends. Without a value, or false: an exception is set.
  std::optional<AsgiSend> kind_of(PyObject* message);
  bool read_start(PyObject* message, int& status, MessageHeaders& headers);
  /// Whether trailers follow the body.
  bool read_trailers_promise(PyObject* message, bool& promised);
  /// Trailers; `is_last`: the reply ends with them.
  bool read_trailers(PyObject* message, MessageHeaders& headers, bool& is_last);
  /// Those of a message that may have some.
  bool read_headers_of(PyObject* message, MessageHeaders& headers);
  bool read_body(PyObject* message, MessageBytes& body, bool& is_last);
  bool read_links(PyObject* message, MessageHeaders& headers);
  /// The path, encoded as the file system's names are.
  bool read_path(PyObject* message, std::string& path);

  // What it receives; empty with an exception set.
  /// The request's body, none.
  PyRef empty_request() { return PyRef::steal(PyDict_Copy(empty_request_.get())); }
  /// A part of it; `body`: bytes.
  PyRef request(PyObject* body, bool is_last);
  PyRef disconnect() { return PyRef::steal(PyDict_Copy(disconnect_.get())); }

 private:
  bool read_headers(PyObject* list, MessageHeaders& headers);
  static bool read_flag(PyObject* message, const PyRef& key, bool& flag);

  PyRef type_, status_, headers_, body_, more_body_, links_, path_, trailers_, more_trailers_;
  PyRef empty_request_, disconnect_;
};

}  // namespace green::python
