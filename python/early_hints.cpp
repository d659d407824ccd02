#include "python/early_hints.h"

#include "python/application_fork.h"
#include "python/header_list.h"

namespace green::python {
namespace {

constexpr int early_hints_status = 103;

thread_local http::Exchange* current = nullptr;

PyObject* send_hints(PyObject*, PyObject* list) {
  end_if_forked();
  if (current == nullptr) {
    PyErr_SetString(PyExc_RuntimeError,
                    "wsgi.early_hints: this thread answers no request at the moment");
    return nullptr;
  }
  std::vector<http::Header> headers;
  if (!read_headers("wsgi.early_hints", list, headers)) return nullptr;
  if (const auto sent = current->send_interim(early_hints_status, headers); !sent) {
    raise_error(sent.error());
    return nullptr;
  }
  Py_RETURN_NONE;
}

PyMethodDef method{"early_hints", send_hints, METH_O, "Sends a 103 response with these headers."};

}  // namespace

PyRef make_early_hints() { return PyRef::steal(PyCFunction_New(&method, nullptr)); }

EarlyHintsScope::EarlyHintsScope(http::Exchange& exchange) { current = &exchange; }
EarlyHintsScope::~EarlyHintsScope() { current = nullptr; }

}  // namespace green::python
