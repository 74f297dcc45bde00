// The documented part of a failed call: code and reason, as any client reads them from google.rpc.Status.
//
//   EXPECT_EQ(Told(status), "ABORTED STALE_BASE");
#pragma once

#include <string>

#include <grpcpp/support/status.h>

#include "absl/status/status.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace stepback {

inline google::rpc::ErrorInfo ErrorInfoOf(const grpc::Status& status) {
  google::rpc::Status details;
  google::rpc::ErrorInfo info;
  if (!details.ParseFromString(status.error_details())) return info;
  for (const auto& any : details.details()) {
    if (any.UnpackTo(&info)) break;
  }
  return info;
}

inline std::string Told(const grpc::Status& status) {
  if (status.ok()) return "OK";
  const std::string code = absl::StatusCodeToString(static_cast<absl::StatusCode>(status.error_code()));
  return code + " " + ErrorInfoOf(status).reason();
}

}  // namespace stepback
