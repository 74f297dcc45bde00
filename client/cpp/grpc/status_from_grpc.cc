#include "client/cpp/grpc/status_from_grpc.h"

#include <map>
#include <string>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "server/base/errors.h"

namespace stepback::client {
namespace {

absl::Status WithReason(const absl::Status& status, const google::rpc::ErrorInfo& info) {
  const std::map<std::string, std::string> metadata(info.metadata().begin(), info.metadata().end());
  return Error(status.code(), info.reason(), std::string(status.message()), metadata);
}

double SecondsOf(const google::protobuf::Duration& duration) {
  return static_cast<double>(duration.seconds()) + 1e-9 * duration.nanos();
}

}  // namespace

absl::Status StatusFromGrpc(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  absl::Status out(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
  google::rpc::Status details;
  if (!details.ParseFromString(status.error_details())) return out;
  google::rpc::ErrorInfo info;
  google::rpc::RetryInfo retry;
  google::rpc::BadRequest bad_request;
  // The reason first: it makes a new status, to which the others add.
  for (const google::protobuf::Any& detail : details.details()) {
    if (detail.UnpackTo(&info)) out = WithReason(out, info);
  }
  for (const google::protobuf::Any& detail : details.details()) {
    if (detail.UnpackTo(&retry)) out = WithRetryAfter(std::move(out), SecondsOf(retry.retry_delay()));
    if (detail.UnpackTo(&bad_request) && bad_request.field_violations_size() > 0) {
      out = WithField(std::move(out), bad_request.field_violations(0).field());
    }
  }
  return out;
}

}  // namespace stepback::client
