// class _core.EmbeddedServer and start_embedded(): a server inside this process.
#include <memory>
#include <string>
#include <utility>

#include "client/python/src/core/bindings.h"
#include "server/embed/embedded_server.h"

namespace py = pybind11;
using py::literals::operator""_a;

namespace stepback::python {
namespace {

using OwnedEmbedded = Owned<EmbeddedServer>;

OwnedEmbedded Start(std::string address, std::string http_address, std::string data_dir,
                    uint32_t compute_threads, std::string log_level) {
  ClaimProcess();
  const EmbeddedOptions options{.listen = std::move(address),
                                .http_listen = std::move(http_address),
                                .data_dir = std::move(data_dir),
                                .compute_threads = compute_threads,
                                .log_level = std::move(log_level)};
  std::shared_ptr<EmbeddedServer> server = Check(WithoutGil([&] { return StartEmbedded(options); }));
  return OwnedEmbedded("the server", std::move(server));
}

void Stop(const OwnedEmbedded& self) {
  EmbeddedServer& server = *self;
  Check(WithoutGil([&] { return server.Stop(); }));
}

}  // namespace

void BindEmbedded(py::module_& module) {
  module.def("start_embedded", &Start, py::kw_only(), "address"_a, "http_address"_a, "data_dir"_a,
             "compute_threads"_a, "log_level"_a);
  py::class_<OwnedEmbedded>(module, "EmbeddedServer")
      .def("stop", &Stop)
      .def_property_readonly("address", [](const OwnedEmbedded& self) { return self->address(); })
      .def_property_readonly("http_address", [](const OwnedEmbedded& self) { return self->http_address(); });
}

}  // namespace stepback::python
