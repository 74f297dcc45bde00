// gRPC statuses become the statuses that the server's code made.
#include <gtest/gtest.h>

#include "client/cpp/grpc/channel.h"
#include "client/cpp/grpc/status_from_grpc.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "stepback/client.h"

namespace stepback::client {
namespace {

TEST(ClientStatus, ReasonMetadataFieldAndRetryTimeArrive) {
  google::rpc::ErrorInfo info;
  info.set_reason("STAGING_FULL");
  info.mutable_metadata()->insert({"bytes", "42"});
  google::rpc::RetryInfo retry;
  retry.mutable_retry_delay()->set_seconds(1);
  retry.mutable_retry_delay()->set_nanos(500'000'000);
  google::rpc::BadRequest bad;
  bad.add_field_violations()->set_field("spec.rounds.quorum");
  google::rpc::Status details;
  details.add_details()->PackFrom(retry);
  details.add_details()->PackFrom(info);
  details.add_details()->PackFrom(bad);
  const absl::Status status = StatusFromGrpc(grpc::Status(
      grpc::StatusCode::RESOURCE_EXHAUSTED, "no room for 42 bytes", details.SerializeAsString()));
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(status.message(), "no room for 42 bytes");
  EXPECT_EQ(ErrorReason(status), "STAGING_FULL");
  EXPECT_EQ(ErrorMetadata(status).at("bytes"), "42");
  EXPECT_EQ(ErrorField(status), "spec.rounds.quorum");
  EXPECT_DOUBLE_EQ(ErrorRetryAfter(status).value(), 1.5);
}

TEST(ClientStatus, BareStatusesKeepCodeAndMessage) {
  const absl::Status status = StatusFromGrpc(grpc::Status(grpc::StatusCode::UNAVAILABLE, "Connection reset"));
  EXPECT_EQ(status, absl::UnavailableError("Connection reset"));
  EXPECT_EQ(ErrorReason(status), "");
  EXPECT_FALSE(ErrorRetryAfter(status).has_value());
  EXPECT_TRUE(StatusFromGrpc(grpc::Status::OK).ok());
}

TEST(ClientStatus, DetailsThatAreNoStatusAreIgnored) {
  const absl::Status status =
      StatusFromGrpc(grpc::Status(grpc::StatusCode::NOT_FOUND, "no", std::string("\xff\xff\xff", 3)));
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
}

TEST(ClientChannel, LocalAddressesAreKnown) {
  for (const char* local : {"localhost:7400", "127.0.0.1:1", "127.1.2.3:9", "[::1]:7400", "unix:/tmp/s"}) {
    EXPECT_TRUE(IsLocal(local)) << local;
  }
  for (const char* remote :
       {"example.org:7400", "10.0.0.1:7400", "localhost.example.org:1", "[2001:db8::1]:1"}) {
    EXPECT_FALSE(IsLocal(remote)) << remote;
  }
}

TEST(ClientChannel, OptionsThatContradictEachOtherAreRefused) {
  const auto refused = [](const ConnectOptions& options) { return Server::Connect(options).status().code(); };
  ConnectOptions options;
  options.tls.cert_file = "cert.pem";
  EXPECT_EQ(refused(options), absl::StatusCode::kInvalidArgument);
  options = {};
  options.tls.ca_file = "/nowhere/ca.pem";
  EXPECT_EQ(refused(options), absl::StatusCode::kNotFound);
  options.insecure = true;
  EXPECT_EQ(refused(options), absl::StatusCode::kInvalidArgument);
  options = {};
  options.chunk_bytes = 5 << 20;
  EXPECT_EQ(refused(options), absl::StatusCode::kInvalidArgument);
  options = {};
  options.channels = 0;
  EXPECT_EQ(refused(options), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace stepback::client
