#include "python/asgi_messages.h"

#include <pybind11/pybind11.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "python/interned.h"
#include "python/latin1.h"

namespace green::python {
namespace {

namespace py = pybind11;

/// Of a message's key: borrowed, or null, with an exception set if `is_needed`.
PyObject* item(PyObject* message, const PyRef& key, bool is_needed = false) {
  PyObject* const value = PyDict_GetItemWithError(message, key.get());
  if (value == nullptr && is_needed && PyErr_Occurred() == nullptr)
    PyErr_Format(PyExc_KeyError, "send(): the message has no %R: %R", key.get(), message);
  return value;
}

struct Kind {
  std::string_view type;
  AsgiSend kind;
};

/// The most frequent first.
constexpr std::array kinds{
    Kind{"http.response.body", AsgiSend::body},
    Kind{"http.response.start", AsgiSend::start},
    Kind{"http.response.trailers", AsgiSend::trailers},
    Kind{"http.response.pathsend", AsgiSend::pathsend},
    Kind{"http.response.early_hint", AsgiSend::early_hint},
};

bool view_of_bytes(PyObject* object, const char* what, std::string_view& view) {
  if (!PyBytes_Check(object)) {
    PyErr_Format(PyExc_TypeError, "send(): a header's %s must be bytes, not %.200s (%R)", what,
                 Py_TYPE(object)->tp_name, object);
    return false;
  }
  view = {PyBytes_AS_STRING(object), static_cast<std::size_t>(PyBytes_GET_SIZE(object))};
  return true;
}

}  // namespace

bool MessageBytes::read(PyObject* object) {
  if (PyBytes_Check(object)) {
    bytes_ = PyRef::borrow(object);
    view_ = {PyBytes_AS_STRING(object), static_cast<std::size_t>(PyBytes_GET_SIZE(object))};
    return true;
  }
  if (PyUnicode_Check(object) || PyObject_CheckBuffer(object) == 0) {
    PyErr_Format(PyExc_TypeError, "send(): a body must be bytes, not %.200s",
                 Py_TYPE(object)->tp_name);
    return false;
  }
  if (PyObject_GetBuffer(object, &buffer_, PyBUF_SIMPLE) < 0) return false;
  view_ = {static_cast<const char*>(buffer_.buf), static_cast<std::size_t>(buffer_.len)};
  return true;
}

AsgiMessages::AsgiMessages()
    : type_(interned("type")),
      status_(interned("status")),
      headers_(interned("headers")),
      body_(interned("body")),
      more_body_(interned("more_body")),
      links_(interned("links")),
      path_(interned("path")),
      trailers_(interned("trailers")),
      more_trailers_(interned("more_trailers")) {
  py::dict request;
  put(request, "type", "http.request");
  put(request, "body", py::bytes());
  put(request, "more_body", false);
  empty_request_ = PyRef::steal(request.release().ptr());
  py::dict disconnect;
  put(disconnect, "type", "http.disconnect");
  disconnect_ = PyRef::steal(disconnect.release().ptr());
}

std::optional<AsgiSend> AsgiMessages::kind_of(PyObject* message) {
  if (!PyDict_Check(message)) {
    PyErr_Format(PyExc_TypeError, "send(): a message must be a dict, not %.200s",
                 Py_TYPE(message)->tp_name);
    return std::nullopt;
  }
  PyObject* const type = item(message, type_, true);
  if (type == nullptr) return std::nullopt;
  if (!PyUnicode_Check(type)) {
    PyErr_Format(PyExc_TypeError, "send(): a message's type must be a str, not %R", type);
    return std::nullopt;
  }
  const auto* const found = std::ranges::find(kinds, latin1_view(type), &Kind::type);
  if (found != kinds.end()) return found->kind;
  PyErr_Format(PyExc_ValueError, "send(): there is no message of type %R for HTTP", type);
  return std::nullopt;
}

bool AsgiMessages::read_headers(PyObject* list, MessageHeaders& headers) {
  const PyRef sequence = PyRef::steal(PySequence_Fast(list, "send(): headers must be iterable"));
  if (!sequence) return false;
  headers.views.reserve(static_cast<std::size_t>(PySequence_Fast_GET_SIZE(sequence.get())));
  // Iterating a pair may run code of the application's, which may change the list.
  for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(sequence.get()); ++i) {
    const PyRef item = PyRef::borrow(PySequence_Fast_GET_ITEM(sequence.get(), i));
    const PyRef pair =
        PyRef::steal(PySequence_Fast(item.get(), "send(): a header must be a (name, value) pair"));
    if (!pair) return false;
    if (PySequence_Fast_GET_SIZE(pair.get()) != 2) {
      PyErr_Format(PyExc_ValueError, "send(): a header must be a (name, value) pair, not %R",
                   item.get());
      return false;
    }
    PyObject** const parts = PySequence_Fast_ITEMS(pair.get());
    http::Header header;
    if (!view_of_bytes(parts[0], "name", header.name) ||
        !view_of_bytes(parts[1], "value", header.value))
      return false;
    headers.views.push_back(header);
    headers.kept.push_back(PyRef::borrow(parts[0]));
    headers.kept.push_back(PyRef::borrow(parts[1]));
  }
  return true;
}

bool AsgiMessages::read_start(PyObject* message, int& status, MessageHeaders& headers) {
  PyObject* const code = item(message, status_, true);
  if (code == nullptr) return false;
  // http.HTTPStatus is an int too.
  const long number = PyLong_Check(code) ? PyLong_AsLong(code) : -1;
  if (number < 200 || number > 999) {
    PyErr_Clear();
    PyErr_Format(PyExc_ValueError, "send(): a status must be an int of 200 to 999, not %R", code);
    return false;
  }
  status = static_cast<int>(number);
  return read_headers_of(message, headers);
}

bool AsgiMessages::read_headers_of(PyObject* message, MessageHeaders& headers) {
  headers.clear();
  PyObject* const list = item(message, headers_);
  if (list == nullptr) return PyErr_Occurred() == nullptr;
  return read_headers(list, headers);
}

bool AsgiMessages::read_body(PyObject* message, MessageBytes& body, bool& is_last) {
  PyObject* const data = item(message, body_);
  if (data != nullptr ? !body.read(data) : PyErr_Occurred() != nullptr) return false;
  bool has_more = false;
  const bool is_read = read_flag(message, more_body_, has_more);
  is_last = !has_more;
  return is_read;
}

/// False where there is none.
bool AsgiMessages::read_flag(PyObject* message, const PyRef& key, bool& flag) {
  PyObject* const value = item(message, key);
  flag = value == Py_True;
  if (flag || value == nullptr || value == Py_False) return PyErr_Occurred() == nullptr;
  const int is_true = PyObject_IsTrue(value);
  flag = is_true > 0;
  return is_true >= 0;
}

bool AsgiMessages::read_trailers_promise(PyObject* message, bool& promised) {
  return read_flag(message, trailers_, promised);
}

bool AsgiMessages::read_trailers(PyObject* message, MessageHeaders& headers, bool& is_last) {
  bool has_more = false;
  const bool is_read =
      read_headers_of(message, headers) && read_flag(message, more_trailers_, has_more);
  is_last = !has_more;
  return is_read;
}

bool AsgiMessages::read_links(PyObject* message, MessageHeaders& headers) {
  headers.clear();
  PyObject* const list = item(message, links_, true);
  if (list == nullptr) return false;
  PyRef links = PyRef::steal(PySequence_Tuple(list));
  if (!links) return false;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(links.get()); ++i) {
    http::Header header{.name = "Link", .value = {}};
    if (!view_of_bytes(PyTuple_GET_ITEM(links.get(), i), "value", header.value)) return false;
    headers.views.push_back(header);
  }
  headers.kept.push_back(std::move(links));
  return true;
}

bool AsgiMessages::read_path(PyObject* message, std::string& path) {
  PyObject* const named = item(message, path_, true);
  if (named == nullptr) return false;
  PyObject* encoded = nullptr;
  if (PyUnicode_FSConverter(named, &encoded) == 0) return false;
  path.assign(PyBytes_AS_STRING(encoded), static_cast<std::size_t>(PyBytes_GET_SIZE(encoded)));
  Py_DECREF(encoded);
  return true;
}

PyRef AsgiMessages::request(PyObject* body, bool is_last) {
  PyRef message = empty_request();
  if (!message || PyDict_SetItem(message.get(), body_.get(), body) < 0) return {};
  if (!is_last && PyDict_SetItem(message.get(), more_body_.get(), Py_True) < 0) return {};
  return message;
}

}  // namespace green::python
