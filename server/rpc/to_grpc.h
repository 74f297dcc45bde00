// The one place where a status leaves as gRPC: code and message, and in the details a google.rpc.Status with
// ErrorInfo{reason, domain "stepback.dev"} and, where the status has them, RetryInfo, BadRequest and
// QuotaFailure (docs/errors.md). Everything is cut to what fits in trailing metadata: a refused call must not
// fail for its own reason.
//
// Thread: any; pure.
#pragma once

#include <string>

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

namespace stepback {

inline constexpr char kErrorDomain[] = "stepback.dev";
inline constexpr size_t kErrorMessageBytesMax = 1024;

grpc::Status ToGrpc(const absl::Status& status);
// The status's reason, or the name of its code when it was made without one ("INTERNAL").
std::string ReasonOrCode(const absl::Status& status);
// At most `bytes_max` bytes of `text`, cut between characters and marked with "...".
std::string Shortened(const std::string& text, size_t bytes_max);

}  // namespace stepback
