// class _core.Worker: one session's data calls.
#include <pybind11/stl.h>

#include <chrono>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "client/python/src/core/arguments.h"
#include "client/python/src/core/bindings.h"
#include "client/python/src/core/records.h"
#include "client/python/src/core/views.h"

namespace py = pybind11;
using py::literals::operator""_a;

namespace stepback::python {
namespace {

py::object Pull(const OwnedWorker& self, const py::sequence& sinks, const std::string& view,
                std::optional<uint32_t> fragment, int64_t timeout_ms) {
  client::Worker& worker = *self;
  const Views memory(sinks, /*writable=*/true);
  client::PullOptions options;
  options.view = view;
  options.fragment = fragment;
  options.timeout = std::chrono::milliseconds(timeout_ms);
  return ToPython(Check(WithoutGil([&] { return worker.Pull(memory.sinks(), options); })));
}

py::object Push(const OwnedWorker& self, const py::sequence& data, bool gradients, const py::dict& options) {
  client::Worker& worker = *self;
  const Views memory(data, /*writable=*/false);
  const client::PushOptions push = PushOptionsFrom(options);
  return ToPython(Check(WithoutGil([&] {
    return gradients ? worker.PushGradient(memory.data(), push) : worker.PushWeights(memory.data(), push);
  })));
}

OwnedPushFuture PushAsync(const OwnedWorker& self, const py::sequence& data, const py::dict& options) {
  client::Worker& worker = *self;
  const Views memory(data, /*writable=*/false);
  const client::PushOptions push = PushOptionsFrom(options);
  client::PushFuture future = Check(WithoutGil([&] { return worker.PushAsync(memory.data(), push); }));
  return OwnedPushFuture("the push", std::make_shared<client::PushFuture>(std::move(future)));
}

py::object Result(const OwnedPushFuture& self, int64_t timeout_ms) {
  const client::PushFuture& future = *self;
  return ToPython(Check(WithoutGil([&] { return future.Wait(std::chrono::milliseconds(timeout_ms)); })));
}

py::object Step(const OwnedWorker& self, const py::sequence& data, const py::sequence& sinks, bool gradients,
                const py::dict& options) {
  client::Worker& worker = *self;
  const Views from(data, /*writable=*/false);
  const Views to(sinks, /*writable=*/true);
  const client::PushOptions push = PushOptionsFrom(options);
  return ToPython(Check(WithoutGil([&] {
    return gradients ? worker.StepGradient(from.data(), to.sinks(), push)
                     : worker.Step(from.data(), to.sinks(), push);
  })));
}

std::vector<std::pair<uint64_t, uint64_t>> Ranges(const OwnedWorker& self) {
  std::vector<std::pair<uint64_t, uint64_t>> ranges;
  for (const client::ElementRange& range : self->ranges()) ranges.emplace_back(range.begin, range.count);
  return ranges;
}

void Close(const OwnedWorker& self) {
  client::Worker& worker = *self;
  Check(WithoutGil([&] { return worker.Close(); }));
}

}  // namespace

void BindWorker(py::module_& module) {
  py::class_<OwnedPushFuture>(module, "PushFuture")
      .def("done", [](const OwnedPushFuture& self) { return self->done(); })
      .def("result", &Result, py::kw_only(), "timeout_ms"_a);
  py::class_<OwnedWorker>(module, "Worker")
      .def("pull", &Pull, "sinks"_a, py::kw_only(), "view"_a, "fragment"_a, "timeout_ms"_a)
      .def("push", &Push, "data"_a, py::kw_only(), "gradients"_a, "options"_a)
      .def("push_async", &PushAsync, "data"_a, py::kw_only(), "options"_a)
      .def("step", &Step, "data"_a, "sinks"_a, py::kw_only(), "gradients"_a, "options"_a)
      .def("report_health",
           [](const OwnedWorker& self, const py::object& health) { self->ReportHealth(HealthFrom(health)); })
      .def("cancel", [](const OwnedWorker& self) { self->Cancel(); })
      .def("close", &Close)
      .def_property_readonly("client_id", [](const OwnedWorker& self) { return self->client_id(); })
      .def_property_readonly("epoch", [](const OwnedWorker& self) { return self->epoch(); })
      .def_property_readonly("last_sequence", [](const OwnedWorker& self) { return self->last_sequence(); })
      .def_property_readonly("durable_sequence",
                             [](const OwnedWorker& self) { return self->durable_sequence(); })
      .def_property_readonly("base_version",
                             [](const OwnedWorker& self) { return ToPython(self->base_version()); })
      .def_property_readonly("newest_version",
                             [](const OwnedWorker& self) { return ToPython(self->newest_version()); })
      .def_property_readonly("finished", [](const OwnedWorker& self) { return self->finished(); })
      .def_property_readonly("local_steps", [](const OwnedWorker& self) { return self->local_steps(); })
      .def_property_readonly("settings", [](const OwnedWorker& self) { return ToPython(self->settings()); })
      .def_property_readonly("statistics",
                             [](const OwnedWorker& self) { return ToPython(self->statistics()); })
      .def_property_readonly("ranges", &Ranges);
}

}  // namespace stepback::python
