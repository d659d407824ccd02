#include "python/asgi_websocket_messages.h"

#include <pybind11/pybind11.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "python/interned.h"
#include "python/latin1.h"

namespace green::python {
namespace {

namespace py = pybind11;

/// Of a message's key: borrowed; null where it is missing or None, or with an exception set.
PyObject* item(PyObject* message, const PyRef& key) {
  PyObject* const value = PyDict_GetItemWithError(message, key.get());
  return value == Py_None ? nullptr : value;
}

struct Kind {
  std::string_view type;
  AsgiWebSocketSend kind;
};

/// The most frequent first.
constexpr std::array kinds{
    Kind{"websocket.send", AsgiWebSocketSend::send},
    Kind{"websocket.accept", AsgiWebSocketSend::accept},
    Kind{"websocket.close", AsgiWebSocketSend::close},
    Kind{"websocket.http.response.start", AsgiWebSocketSend::deny},
    Kind{"websocket.http.response.body", AsgiWebSocketSend::deny_body},
};

bool view_of_text(PyObject* object, const char* what, std::string_view& view) {
  if (!PyUnicode_Check(object)) {
    PyErr_Format(PyExc_TypeError, "send(): %s must be str, not %.200s", what,
                 Py_TYPE(object)->tp_name);
    return false;
  }
  Py_ssize_t size = 0;
  const char* const text = PyUnicode_AsUTF8AndSize(object, &size);
  if (text == nullptr) return false;
  view = {text, static_cast<std::size_t>(size)};
  return true;
}

PyRef decoded(std::string_view text) {
  return PyRef::steal(
      PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "strict"));
}

PyRef message_of(const PyRef& type_key, const PyRef& type) {
  PyRef message = PyRef::steal(PyDict_New());
  if (message && PyDict_SetItem(message.get(), type_key.get(), type.get()) < 0) return {};
  return message;
}

}  // namespace

AsgiWebSocketMessages::AsgiWebSocketMessages()
    : type_(interned("type")),
      text_(interned("text")),
      bytes_(interned("bytes")),
      code_(interned("code")),
      reason_(interned("reason")),
      subprotocol_(interned("subprotocol")),
      connect_type_(interned("websocket.connect")),
      receive_type_(interned("websocket.receive")),
      disconnect_type_(interned("websocket.disconnect")) {
  py::dict extensions;
  put(extensions, "websocket.http.response", py::dict());
  extensions_ = PyRef::steal(extensions.release().ptr());
}

bool AsgiWebSocketMessages::make_scope(PyObject* scope, const http::WebSocketOffer& offer) const {
  const PyRef subprotocols = PyRef::steal(PyList_New(0));
  const PyRef extensions = PyRef::steal(PyDict_Copy(extensions_.get()));
  if (!subprotocols || !extensions) return false;
  for (const std::string_view name : offer.subprotocols) {
    const PyRef text = decoded(name);
    if (!text || PyList_Append(subprotocols.get(), text.get()) < 0) return false;
  }
  PyObject* const scheme = PyDict_GetItemString(scope, "scheme");
  const bool is_secure =
      scheme != nullptr && PyUnicode_CompareWithASCIIString(scheme, "https") == 0;
  const PyRef type = PyRef::steal(PyUnicode_InternFromString("websocket"));
  const PyRef new_scheme = PyRef::steal(PyUnicode_InternFromString(is_secure ? "wss" : "ws"));
  return type && new_scheme && PyDict_DelItemString(scope, "method") == 0 &&
         PyDict_SetItemString(scope, "type", type.get()) == 0 &&
         PyDict_SetItemString(scope, "scheme", new_scheme.get()) == 0 &&
         PyDict_SetItemString(scope, "subprotocols", subprotocols.get()) == 0 &&
         PyDict_SetItemString(scope, "extensions", extensions.get()) == 0;
}

std::optional<AsgiWebSocketSend> AsgiWebSocketMessages::kind_of(PyObject* message) const {
  if (!PyDict_Check(message)) {
    PyErr_Format(PyExc_TypeError, "send(): a message must be a dict, not %.200s",
                 Py_TYPE(message)->tp_name);
    return std::nullopt;
  }
  PyObject* const type = item(message, type_);
  if (type == nullptr || !PyUnicode_Check(type)) {
    if (PyErr_Occurred() == nullptr)
      PyErr_Format(PyExc_TypeError, "send(): a message's type must be a str: %R", message);
    return std::nullopt;
  }
  const auto* const found = std::ranges::find(kinds, latin1_view(type), &Kind::type);
  if (found != kinds.end()) return found->kind;
  PyErr_Format(PyExc_ValueError, "send(): there is no message of type %R for WebSockets", type);
  return std::nullopt;
}

bool AsgiWebSocketMessages::read_accept(PyObject* message, std::string_view& subprotocol,
                                        MessageHeaders& headers) {
  subprotocol = {};
  // First what may run code of the application's.
  if (!http_.read_headers_of(message, headers)) return false;
  PyObject* const name = item(message, subprotocol_);
  if (name == nullptr) return PyErr_Occurred() == nullptr;
  return view_of_text(name, "a subprotocol", subprotocol);
}

bool AsgiWebSocketMessages::read_send(PyObject* message, http::MessageKind& kind,
                                      std::string_view& text, MessageBytes& bytes) const {
  PyObject* const as_text = item(message, text_);
  PyObject* const as_bytes = PyErr_Occurred() == nullptr ? item(message, bytes_) : nullptr;
  if (PyErr_Occurred() != nullptr) return false;
  if ((as_text == nullptr) == (as_bytes == nullptr)) {
    PyErr_SetString(PyExc_ValueError, "send(): websocket.send has either text or bytes");
    return false;
  }
  kind = as_text != nullptr ? http::MessageKind::text : http::MessageKind::binary;
  if (as_text == nullptr) return bytes.read(as_bytes);
  return view_of_text(as_text, "a text", text);
}

bool AsgiWebSocketMessages::read_close(PyObject* message, int& code,
                                       std::string_view& reason) const {
  code = http::close_normal;
  reason = {};
  if (PyObject* const number = item(message, code_); number != nullptr) {
    const long value = PyLong_Check(number) ? PyLong_AsLong(number) : -1;
    if (value < 0 || !http::is_close_code(static_cast<int>(value))) {
      PyErr_Clear();
      PyErr_Format(PyExc_ValueError, "send(): %R is no code that may close a WebSocket", number);
      return false;
    }
    code = static_cast<int>(value);
  }
  if (PyErr_Occurred() != nullptr) return false;
  PyObject* const why = item(message, reason_);
  if (why == nullptr) return PyErr_Occurred() == nullptr;
  return view_of_text(why, "a reason", reason);
}

PyRef AsgiWebSocketMessages::connect() const { return message_of(type_, connect_type_); }

PyRef AsgiWebSocketMessages::receive(http::MessageKind kind, std::string_view data) const {
  const bool is_text = kind == http::MessageKind::text;
  PyRef message = message_of(type_, receive_type_);
  const PyRef value = is_text ? decoded(data)
                              : PyRef::steal(PyBytes_FromStringAndSize(
                                    data.data(), static_cast<Py_ssize_t>(data.size())));
  const PyRef& key = is_text ? text_ : bytes_;
  if (!message || !value || PyDict_SetItem(message.get(), key.get(), value.get()) < 0) return {};
  return message;
}

PyRef AsgiWebSocketMessages::disconnect(int code, std::string_view reason) const {
  PyRef message = message_of(type_, disconnect_type_);
  const PyRef number = PyRef::steal(PyLong_FromLong(code));
  const PyRef why = decoded(reason);
  if (!message || !number || !why || PyDict_SetItem(message.get(), code_.get(), number.get()) < 0 ||
      PyDict_SetItem(message.get(), reason_.get(), why.get()) < 0)
    return {};
  return message;
}

}  // namespace green::python
