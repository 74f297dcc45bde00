// class _core.EmbeddedServer and start_embedded(): a server inside this process.
#include <pybind11/stl.h>
#include "client/python/src/core/bindings.h"
namespace stepback::python { void BindEmbedded(pybind11::module_&) {} }
