// class _core.Server and connect(): a connection, the way to models, and the operators' calls.
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
using py::literals::operator""_a;

namespace stepback::python {
namespace {

OwnedServer Connect(const std::string& address, const py::object& tls, const py::dict& options) {
  ClaimProcess();
  const client::ConnectOptions connect = ConnectOptionsFrom(address, tls, options);
  return OwnedServer("the connection", Check(WithoutGil([&] { return client::Server::Connect(connect); })));
}

OwnedModel Own(client::Model model) {
  return OwnedModel("the model", std::make_shared<client::Model>(std::move(model)));
}

OwnedModel CreateModel(const OwnedServer& self, const py::object& definition, const py::sequence& weights,
                       const std::string& codec) {
  client::Server& server = *self;
  const client::ModelDefinition model = DefinitionFrom(definition);
  const Views memory(weights, /*writable=*/false);
  return Own(Check(WithoutGil([&] { return server.CreateModel(model, memory.data(), {.codec = codec}); })));
}

OwnedModel OpenModel(const OwnedServer& self, const std::string& name) {
  client::Server& server = *self;
  return Own(Check(WithoutGil([&] { return server.OpenModel(name); })));
}

py::object DescribeModel(const OwnedServer& self, const std::string& name, bool state_hash, bool tensors) {
  client::Server& server = *self;
  return ToPython(Check(WithoutGil([&] { return server.DescribeModel(name, {state_hash, tensors}); })));
}

py::list ListModels(const OwnedServer& self) {
  client::Server& server = *self;
  return ListToPython(Check(WithoutGil([&] { return server.ListModels(); })));
}

py::object UpdateModel(const OwnedServer& self, const std::string& name,
                       const std::map<std::string, double>& values, uint64_t expected_settings_version) {
  client::Server& server = *self;
  return ToPython(Check(WithoutGil([&] {
                    return server.UpdateModel(name, values, expected_settings_version);
                  })).effective_version);
}

void DeleteModel(const OwnedServer& self, const std::string& name) {
  client::Server& server = *self;
  Check(WithoutGil([&] { return server.DeleteModel(name); }));
}

py::object SaveSnapshot(const OwnedServer& self, const std::string& model, const std::string& label) {
  client::Server& server = *self;
  return ToPython(Check(WithoutGil([&] { return server.SaveSnapshot(model, label); })));
}

py::list ListSnapshots(const OwnedServer& self, const std::string& model) {
  client::Server& server = *self;
  return ListToPython(Check(WithoutGil([&] { return server.ListSnapshots(model); })));
}

py::object RestoreSnapshot(const OwnedServer& self, const std::string& model, const std::string& label,
                           uint64_t generation) {
  client::Server& server = *self;
  return ToPython(Check(WithoutGil([&] { return server.RestoreSnapshot(model, label, generation); })));
}

py::object Flush(const OwnedServer& self, const std::string& model) {
  client::Server& server = *self;
  return ToPython(Check(WithoutGil([&] { return server.Flush(model); })));
}

py::object ExportModel(const OwnedServer& self, const std::string& model, const std::string& path,
                       const std::string& view) {
  client::Server& server = *self;
  return ToPython(Check(WithoutGil([&] { return server.ExportModelToFile(model, path, view); })).version);
}

py::object ImportModel(const OwnedServer& self, const std::string& model, const std::string& path) {
  client::Server& server = *self;
  return ToPython(Check(WithoutGil([&] { return server.ImportModelFromFile(model, path); })));
}

py::object Info(const OwnedServer& self) {
  client::Server& server = *self;
  return ToPython(Check(WithoutGil([&] { return server.Info(); })));
}

py::object ListRules(const OwnedServer& self) {
  client::Server& server = *self;
  return ToPython(Check(WithoutGil([&] { return server.ListRules(); })));
}

py::list ListSessions(const OwnedServer& self, const std::string& model) {
  client::Server& server = *self;
  return ListToPython(Check(WithoutGil([&] { return server.ListSessions(model); })));
}

void EvictSession(const OwnedServer& self, const std::string& model, const std::string& client_id) {
  client::Server& server = *self;
  Check(WithoutGil([&] { return server.EvictSession(model, client_id); }));
}

std::string SetLogLevel(const OwnedServer& self, const std::string& level) {
  client::Server& server = *self;
  return Check(WithoutGil([&] { return server.SetLogLevel(level); }));
}

void Drain(const OwnedServer& self) {
  client::Server& server = *self;
  Check(WithoutGil([&] { return server.Drain(); }));
}

std::string CheckHealth(const OwnedServer& self, const std::string& service) {
  client::Server& server = *self;
  return Check(WithoutGil([&] { return server.CheckHealth(service); }));
}

}  // namespace

void BindServer(py::module_& module) {
  module.def("connect", &Connect, "address"_a, "tls"_a, "options"_a);
  py::class_<OwnedServer>(module, "Server")
      .def("create_model", &CreateModel)
      .def("open_model", &OpenModel)
      .def("describe_model", &DescribeModel, "name"_a, py::kw_only(), "state_hash"_a, "tensors"_a)
      .def("list_models", &ListModels)
      .def("update_model", &UpdateModel)
      .def("delete_model", &DeleteModel)
      .def("save_snapshot", &SaveSnapshot)
      .def("list_snapshots", &ListSnapshots)
      .def("restore_snapshot", &RestoreSnapshot)
      .def("flush", &Flush)
      .def("export_model", &ExportModel)
      .def("import_model", &ImportModel)
      .def("info", &Info)
      .def("list_rules", &ListRules)
      .def("list_sessions", &ListSessions)
      .def("evict_session", &EvictSession)
      .def("set_log_level", &SetLogLevel)
      .def("drain", &Drain)
      .def("check_health", &CheckHealth);
}

}  // namespace stepback::python
