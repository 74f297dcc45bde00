// Arguments from Python as the client's plain values: dataclasses of stepback._types, and option dictionaries
// whose keys stepback/*.py spells out. The GIL must be held; a wrong word raises ValueError.
#pragma once

#include <pybind11/pybind11.h>

#include "stepback/definition.h"
#include "stepback/options.h"

namespace stepback::python {

client::ModelDefinition DefinitionFrom(const pybind11::object& definition);
client::ConnectOptions ConnectOptionsFrom(const std::string& address, const pybind11::object& tls,
                                          const pybind11::dict& options);
client::JoinOptions JoinOptionsFrom(const pybind11::dict& options);
client::PullOptions PullOptionsFrom(const pybind11::dict& options);
client::PushOptions PushOptionsFrom(const pybind11::dict& options);
client::Health HealthFrom(const pybind11::object& health);
client::Version VersionFrom(const pybind11::object& version);

}  // namespace stepback::python
