// class _core.Model: a model on the server.
#include <pybind11/stl.h>

#include <map>
#include <memory>
#include <string>
#include <utility>

#include "client/python/src/core/arguments.h"
#include "client/python/src/core/bindings.h"
#include "client/python/src/core/records.h"
#include "client/python/src/core/views.h"

namespace py = pybind11;

namespace stepback::python {
namespace {

OwnedWorker Join(const OwnedModel& self, const std::string& client_id, const py::dict& options) {
  client::Model& model = *self;
  const client::JoinOptions join = JoinOptionsFrom(options);
  std::shared_ptr<client::Worker> worker = Check(WithoutGil([&] { return model.Join(client_id, join); }));
  return OwnedWorker("the worker", std::move(worker));
}

py::object PullModel(const OwnedModel& self, const py::sequence& sinks, const py::dict& options) {
  client::Model& model = *self;
  const Views memory(sinks, /*writable=*/true);
  const client::PullOptions pull = PullOptionsFrom(options);
  return ToPython(Check(WithoutGil([&] { return model.Pull(memory.sinks(), pull); })));
}

// An exception of the callback ends the watch and is raised by it.
bool CallBack(const py::function& on_change, const client::VersionEvent& event) {
  const py::gil_scoped_acquire gil;
  try {
    return on_change(ToPython(event)).cast<bool>();
  } catch (py::error_already_set& error) {
    error.restore();
    return false;
  }
}

void Watch(const OwnedModel& self, const py::function& on_change) {
  client::Model& model = *self;
  Check(WithoutGil([&] {
    return model.Watch([&](const client::VersionEvent& event) { return CallBack(on_change, event); });
  }));
}

void ReportMetrics(const OwnedModel& self, const py::object& version,
                   const std::map<std::string, double>& values) {
  client::Model& model = *self;
  const client::Version at = VersionFrom(version);
  Check(WithoutGil([&] { return model.ReportMetrics(at, values); }));
}

}  // namespace

void BindModel(py::module_& module) {
  py::class_<OwnedModel>(module, "Model")
      .def("join", &Join)
      .def("pull", &PullModel)
      .def("watch", &Watch)
      .def("report_metrics", &ReportMetrics)
      .def_property_readonly("name", [](const OwnedModel& self) { return self->name(); })
      .def_property_readonly("tensors", [](const OwnedModel& self) { return TupleToPython(self->tensors()); })
      .def_property_readonly("info", [](const OwnedModel& self) { return ToPython(self->info()); })
      .def_property_readonly("created", [](const OwnedModel& self) { return self->created(); });
}

}  // namespace stepback::python
