// Answers of the client as the dataclasses of stepback._types. The GIL must be held.
#pragma once

#include <pybind11/pybind11.h>

#include <optional>
#include <vector>

#include "stepback/info.h"
#include "stepback/results.h"
#include "stepback/tensor.h"

namespace stepback::python {

pybind11::object ToPython(client::Version version);
pybind11::object ToPython(const client::Tensor& tensor);
pybind11::object ToPython(const client::Schedule& schedule);
pybind11::object ToPython(const client::Rule& rule);
pybind11::object ToPython(const client::Group& group);
pybind11::object ToPython(const client::Rounds& rounds);
pybind11::object ToPython(const client::Clip& clip);
pybind11::object ToPython(const client::Settings& settings);
pybind11::object ToPython(const client::Health& health);
pybind11::object ToPython(const client::PushResult& result);
pybind11::object ToPython(const client::PullInfo& info);
pybind11::object ToPython(const client::StepResult& result);
pybind11::object ToPython(const client::Statistics& statistics);
pybind11::object ToPython(const client::ModelInfo& info);
pybind11::object ToPython(const client::SnapshotInfo& info);
pybind11::object ToPython(const client::SessionInfo& info);
pybind11::object ToPython(const client::ServerInfo& info);
pybind11::object ToPython(const client::RuleList& list);
pybind11::object ToPython(const client::VersionEvent& event);

template <class T>
pybind11::object ToPython(const std::optional<T>& value) {
  return value ? ToPython(*value) : pybind11::none();
}
template <class T>
pybind11::list ListToPython(const std::vector<T>& values) {
  pybind11::list list;
  for (const T& value : values) list.append(ToPython(value));
  return list;
}

template <class T>
pybind11::tuple TupleToPython(const std::vector<T>& values) {
  return pybind11::tuple(ListToPython(values));
}

}  // namespace stepback::python
