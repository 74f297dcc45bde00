#include "client/python/src/core/errors.h"

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "stepback/errors.h"

namespace py = pybind11;

namespace stepback::python {
namespace {

[[noreturn]] void RaiseObject(const py::object& exception) {
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(exception.ptr())), exception.ptr());
  throw py::error_already_set();
}

py::object ErrorsModule() { return py::module_::import("stepback._errors"); }

}  // namespace

void Raise(const absl::Status& status) {
  RaiseObject(ErrorsModule().attr("from_status")(
      absl::StatusCodeToString(status.code()), std::string(status.message()), client::ErrorReason(status),
      client::ErrorField(status), client::ErrorMetadata(status), client::ErrorRetryAfter(status)));
}

void RaiseDetached(const std::string& what) {
  RaiseObject(ErrorsModule().attr("DetachedError")(what +
                                                   " belongs to the process that this one was forked from; "
                                                   "start processes with 'spawn' and connect there"));
}

void RaisePending() {
  if (PyErr_Occurred() != nullptr) throw py::error_already_set();
}

}  // namespace stepback::python
