// The classes of stepback._core: thin, in the shape of stepback/_transport.py. Each function binds one of
// them.
#pragma once

#include <pybind11/pybind11.h>

#include <memory>

#include "client/python/src/core/owned.h"
#include "stepback/client.h"

namespace stepback::python {

using OwnedServer = Owned<client::Server>;
using OwnedModel = Owned<client::Model>;
using OwnedWorker = Owned<client::Worker>;
using OwnedPushFuture = Owned<client::PushFuture>;

void BindServer(pybind11::module_& module);
void BindModel(pybind11::module_& module);
void BindWorker(pybind11::module_& module);
void BindEmbedded(pybind11::module_& module);

// gRPC's threads do not survive a fork: raises DetachedError in a child of a process that has used it.
void ClaimProcess();

}  // namespace stepback::python
