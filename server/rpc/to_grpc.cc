#include "server/rpc/to_grpc.h"

#include <cmath>

#include "google/rpc/code.pb.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "server/base/errors.h"

namespace stepback {
namespace {

constexpr size_t kMetadataValueBytesMax = 256;
constexpr size_t kMetadataCountMax = 8;

// The three enumerations number the codes alike; the conversions below are casts.
static_assert(static_cast<int>(absl::StatusCode::kUnauthenticated) == google::rpc::UNAUTHENTICATED);
static_assert(static_cast<int>(absl::StatusCode::kUnauthenticated) == grpc::StatusCode::UNAUTHENTICATED);
static_assert(static_cast<int>(absl::StatusCode::kDataLoss) == google::rpc::DATA_LOSS);

void AddErrorInfo(const absl::Status& status, google::rpc::Status* out) {
  google::rpc::ErrorInfo info;
  info.set_reason(ReasonOrCode(status));
  info.set_domain(kErrorDomain);
  for (const auto& [key, value] : MetadataOf(status)) {
    if (info.metadata().size() == kMetadataCountMax) break;
    (*info.mutable_metadata())[Shortened(key, 64)] = Shortened(value, kMetadataValueBytesMax);
  }
  out->add_details()->PackFrom(info);
}

void AddRetryInfo(double seconds, google::rpc::Status* out) {
  google::rpc::RetryInfo info;
  info.mutable_retry_delay()->set_seconds(static_cast<int64_t>(std::floor(seconds)));
  info.mutable_retry_delay()->set_nanos(static_cast<int32_t>((seconds - std::floor(seconds)) * 1e9));
  out->add_details()->PackFrom(info);
}

void AddBadRequest(const std::string& field, const std::string& message, google::rpc::Status* out) {
  google::rpc::BadRequest bad;
  auto* violation = bad.add_field_violations();
  violation->set_field(Shortened(field, kMetadataValueBytesMax));
  violation->set_description(Shortened(message, kMetadataValueBytesMax));
  out->add_details()->PackFrom(bad);
}

void AddQuotaFailure(const absl::Status& status, const std::string& message, google::rpc::Status* out) {
  google::rpc::QuotaFailure quota;
  auto* violation = quota.add_violations();
  violation->set_subject(ReasonOrCode(status));
  violation->set_description(Shortened(message, kMetadataValueBytesMax));
  out->add_details()->PackFrom(quota);
}

google::rpc::Status Details(const absl::Status& status, const std::string& message) {
  google::rpc::Status out;
  out.set_code(static_cast<int>(status.code()));
  out.set_message(message);
  AddErrorInfo(status, &out);
  if (const auto seconds = RetryAfterOf(status)) AddRetryInfo(*seconds, &out);
  if (const std::string field = FieldOf(status); !field.empty()) AddBadRequest(field, message, &out);
  if (status.code() == absl::StatusCode::kResourceExhausted) AddQuotaFailure(status, message, &out);
  return out;
}

bool IsContinuation(char c) { return (static_cast<uint8_t>(c) & 0xc0) == 0x80; }

}  // namespace

std::string ReasonOrCode(const absl::Status& status) {
  const std::string reason = ReasonOf(status);
  return reason.empty() ? absl::StatusCodeToString(status.code()) : reason;
}

std::string Shortened(const std::string& text, size_t bytes_max) {
  if (text.size() <= bytes_max) return text;
  size_t end = bytes_max - 3;
  while (end > 0 && IsContinuation(text[end])) --end;
  return text.substr(0, end) + "...";
}

grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  const std::string message = Shortened(std::string(status.message()), kErrorMessageBytesMax);
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), message,
                      Details(status, message).SerializeAsString());
}

}  // namespace stepback
