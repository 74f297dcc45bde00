// A gRPC status with google.rpc details as an absl::Status with reason, metadata, field and retry time: the
// inverse of what the server's edge does. Pure.
#pragma once

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

namespace stepback::client {

absl::Status StatusFromGrpc(const grpc::Status& status);

}  // namespace stepback::client
