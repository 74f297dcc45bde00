#include "server/rpc/to_grpc.h"

#include <string>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "gtest/gtest.h"
#include "server/base/errors.h"
#include "server/rpc/guard.h"

namespace stepback {
namespace {

google::rpc::Status DetailsOf(const grpc::Status& status) {
  google::rpc::Status details;
  EXPECT_TRUE(details.ParseFromString(status.error_details()));
  return details;
}

template <typename Detail>
Detail Find(const google::rpc::Status& status) {
  Detail detail;
  for (const auto& any : status.details()) {
    if (any.UnpackTo(&detail)) return detail;
  }
  ADD_FAILURE() << "no " << Detail::descriptor()->name();
  return detail;
}

template <typename Detail>
bool Has(const google::rpc::Status& status) {
  for (const auto& any : status.details()) {
    if (any.Is<Detail>()) return true;
  }
  return false;
}

TEST(ToGrpc, CarriesCodeMessageReasonAndMetadata) {
  const grpc::Status status =
      ToGrpc(Error(absl::StatusCode::kAborted, "STALE_BASE", "base 1.3, current 1.7", {{"current", "1.7"}}));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::ABORTED);
  EXPECT_EQ(status.error_message(), "base 1.3, current 1.7");
  const google::rpc::Status details = DetailsOf(status);
  EXPECT_EQ(details.code(), 10);
  EXPECT_EQ(details.message(), "base 1.3, current 1.7");
  const auto info = Find<google::rpc::ErrorInfo>(details);
  EXPECT_EQ(info.reason(), "STALE_BASE");
  EXPECT_EQ(info.domain(), "stepback.dev");
  EXPECT_EQ(info.metadata().at("current"), "1.7");
  EXPECT_FALSE(Has<google::rpc::RetryInfo>(details));
  EXPECT_FALSE(Has<google::rpc::BadRequest>(details));
  EXPECT_FALSE(Has<google::rpc::QuotaFailure>(details));
}

TEST(ToGrpc, NamesTheFieldTheQuotaAndTheTimeToRetry) {
  absl::Status status =
      Error(absl::StatusCode::kResourceExhausted, "STAGING_FULL", "64 of 64 MiB are in use");
  status = WithField(WithRetryAfter(status, 2.25), "spec.staging_bytes");
  const google::rpc::Status details = DetailsOf(ToGrpc(status));
  EXPECT_EQ(Find<google::rpc::RetryInfo>(details).retry_delay().seconds(), 2);
  EXPECT_EQ(Find<google::rpc::RetryInfo>(details).retry_delay().nanos(), 250'000'000);
  EXPECT_EQ(Find<google::rpc::BadRequest>(details).field_violations(0).field(), "spec.staging_bytes");
  EXPECT_EQ(Find<google::rpc::QuotaFailure>(details).violations(0).description(), "64 of 64 MiB are in use");
}

TEST(ToGrpc, GivesAStatusWithoutReasonTheNameOfItsCode) {
  EXPECT_EQ(Find<google::rpc::ErrorInfo>(DetailsOf(ToGrpc(absl::InternalError("x")))).reason(), "INTERNAL");
}

TEST(ToGrpc, StaysSmallWhateverTheErrorSays) {
  std::map<std::string, std::string> metadata;
  for (int i = 0; i < 100; ++i)
    metadata[std::string("key").append(std::to_string(i))] = std::string(10'000, 'v');
  std::string name;
  for (int i = 0; i < 100'000; ++i) name += "\xc3\xa4";
  const absl::Status status =
      WithField(Error(absl::StatusCode::kResourceExhausted, "BIG", "x" + name, metadata), name);
  const grpc::Status sent = ToGrpc(status);
  EXPECT_LE(sent.error_message().size(), kErrorMessageBytesMax);
  EXPECT_LE(sent.error_message().size() + sent.error_details().size() * 4 / 3, 7000u)
      << "base64 in 8 KiB of metadata";
}

TEST(Shortened, CutsBetweenCharacters) {
  EXPECT_EQ(Shortened("short", 10), "short");
  EXPECT_EQ(Shortened("0123456789abc", 10), "0123456...");
  EXPECT_EQ(Shortened("012345\xe2\x82\xac\xe2\x82\xac", 10), "012345...");
}

TEST(ToGrpc, LeavesOkAlone) { EXPECT_TRUE(ToGrpc(absl::OkStatus()).ok()); }

TEST(MethodTable, NamesEveryMethodOnceWithItsKind) {
  EXPECT_EQ(kMethodCount, 25u);
  EXPECT_EQ(InfoOf(Method::kPush).service, "stepback.v1.TrainingService");
  EXPECT_EQ(InfoOf(Method::kPush).name, "Push");
  EXPECT_EQ(InfoOf(Method::kPush).type, telemetry::RpcType::kClientStream);
  EXPECT_EQ(InfoOf(Method::kStep).type, telemetry::RpcType::kBidiStream);
  EXPECT_EQ(InfoOf(Method::kPull).type, telemetry::RpcType::kServerStream);
  EXPECT_EQ(InfoOf(Method::kDrain).type, telemetry::RpcType::kUnary);
}

TEST(MethodTable, LetsReadersReadOnly) {
  EXPECT_EQ(AccessOf(Method::kPull).role, AccessRole::kReader);
  EXPECT_EQ(AccessOf(Method::kPush).role, AccessRole::kWorker);
  EXPECT_EQ(AccessOf(Method::kStep).role, AccessRole::kWorker);
  for (const Method method :
       {Method::kDeleteModel, Method::kRestoreSnapshot, Method::kImportModel, Method::kDrain,
        Method::kEvictSession, Method::kUpdateModel, Method::kSetLogLevel}) {
    EXPECT_EQ(AccessOf(method).role, AccessRole::kAdmin) << InfoOf(method).name;
  }
}

TEST(RunContained, TurnsAnExceptionIntoAStatus) {
  const absl::Status status = RunContained(Method::kPull, [] { throw std::runtime_error("from below"); });
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_EQ(ReasonOf(status), "UNEXPECTED_EXCEPTION");
  EXPECT_TRUE(RunContained(Method::kPull, [] {}).ok());
}

}  // namespace
}  // namespace stepback
