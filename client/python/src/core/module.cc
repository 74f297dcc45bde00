// stepback._core: the C++ client (and, where it is built in, an embedded server) for Python.
#include <pybind11/pybind11.h>
#include <unistd.h>

#include <atomic>

#include "client/python/src/core/bindings.h"

namespace stepback::python {

void ClaimProcess() {
  static std::atomic<pid_t> claimed{0};
  pid_t owner = 0;
  if (claimed.compare_exchange_strong(owner, getpid()) || owner == getpid()) return;
  RaiseDetached("gRPC in this process");
}

}  // namespace stepback::python

PYBIND11_MODULE(_core, module) {
  module.doc() = "The C++ client for Python; use the stepback package.";
  stepback::python::BindWorker(module);
  stepback::python::BindModel(module);
  stepback::python::BindServer(module);
  stepback::python::BindEmbedded(module);
}
