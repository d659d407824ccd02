#include "python/interface.h"

#include <fmt/format.h>
#include <pybind11/pybind11.h>

#include "common/log.h"
#include "python/green_module.h"
#include "python/py_ref.h"
#include "python/traceback.h"

namespace green::python {

namespace py = pybind11;

namespace {

/// For the usual cases, without the modules that a closer look needs; empty: for those it takes
/// one.
std::string plain_look(PyObject* application) {
  if (PyType_Check(application)) return {};
  PyRef call = PyFunction_Check(application)
                   ? PyRef::borrow(application)
                   : PyRef::steal(PyObject_GetAttrString(application, "__call__"));
  PyErr_Clear();
  if (!call) return {};
  const int bound = PyMethod_Check(call.get()) ? 1 : 0;
  PyObject* const function = bound != 0 ? PyMethod_Function(call.get()) : call.get();
  if (!PyFunction_Check(function)) return {};
  const auto* const code = reinterpret_cast<PyCodeObject*>(PyFunction_GetCode(function));
  if ((code->co_flags & CO_COROUTINE) != 0) return "asgi";
  return code->co_argcount - bound == 2 ? "wsgi" : std::string();
}

}  // namespace

std::expected<Interface, LoadFailure> choose_interface(const Settings& settings,
                                                       PyObject* application) {
  std::string name = settings.interface;
  try {
    if (name == "auto") name = plain_look(application);
    if (name.empty())
      name = interface_helpers()
                 .attr("interface_of")(py::reinterpret_borrow<py::object>(application))
                 .cast<std::string>();
  } catch (py::error_already_set& error) {
    error.restore();
    return std::unexpected(LoadFailure{StartFailure::application, take_traceback()});
  }
  if (name == "asgi2")
    return std::unexpected(LoadFailure{
        StartFailure::configuration,
        fmt::format("app = {}: this looks like an ASGI 2 application, which is called with a scope "
                    "alone; asgiref.compatibility.guarantee_single_callable() makes ASGI 3 of it "
                    "(if it is something else, set interface)",
                    settings.app)});
  if (name == "asgi" && settings.threads > 1)
    log_warning("threads = {}: without effect, the application is an ASGI one", settings.threads);
  return name == "asgi" ? Interface::asgi : Interface::wsgi;
}

}  // namespace green::python
