// A real gRPC port in front of a fake engine: the streams as clients see them, with an engine that holds
// still.
#pragma once

#include <memory>
#include <string>

#include "gtest/gtest.h"
#include "server/base/crc32c.h"
#include "server/rpc/grpc_server.h"
#include "server/telemetry/metrics.h"
#include "stepback/v1/training.pb.h"
#include "tests/fakes/engine.h"
#include "tests/support/grpc_reason.h"
#include "tests/support/raw_call.h"

namespace stepback {

inline constexpr char kPushMethod[] = "/stepback.v1.TrainingService/Push";
inline constexpr char kStepMethod[] = "/stepback.v1.TrainingService/Step";
inline constexpr char kPullMethod[] = "/stepback.v1.TrainingService/Pull";
inline constexpr char kWatchMethod[] = "/stepback.v1.TrainingService/WatchVersions";

class RpcTest : public ::testing::Test {
 protected:
  static constexpr uint64_t kElements = 1 << 20;  // 4 MiB

  RpcTest() : engine_(FakeSpec("m", kElements)) { StartServer(); }

  // Tests that change the context start again.
  void StartServer() {
    grpc_.reset();
    guard_ = std::make_unique<Guard>(Guard::Options{
        .metrics = &metrics_, .draining = [this] { return engine_.draining(); }, .role_of = role_of_});
    context_.engine = &engine_;
    context_.guard = guard_.get();
    context_.metrics = &metrics_;
    context_.allocator = &pool_;
    context_.started = Clock::Real()->Now();
    context_.drain = [this](std::function<void(absl::Status)> done) { engine_.Drain(std::move(done)); };
    auto server = GrpcServer::Start({.credentials = grpc::InsecureServerCredentials()}, &context_);
    ASSERT_TRUE(server.ok()) << server.status();
    grpc_ = *std::move(server);
    channel_ =
        grpc::CreateChannel("127.0.0.1:" + std::to_string(grpc_->port()), grpc::InsecureChannelCredentials());
  }

  FakeHandle& model() { return engine_.model(); }

  static v1::PushHeader PushHeaderOf(uint64_t sequence, uint64_t bytes) {
    v1::PushHeader header;
    header.set_model("m");
    header.set_client_id("worker-0");
    header.set_epoch(1);
    header.set_sequence(sequence);
    header.set_kind(v1::PUSH_KIND_DELTA);
    header.mutable_base()->set_term(1);
    header.set_total_bytes(bytes);
    return header;
  }
  static v1::PushRequest Header(uint64_t sequence = 1, uint64_t bytes = 8) {
    v1::PushRequest request;
    *request.mutable_header() = PushHeaderOf(sequence, bytes);
    return request;
  }
  static v1::StepRequest StepHeader(uint32_t chunk_bytes = 0) {
    v1::StepRequest request;
    *request.mutable_header()->mutable_push() = PushHeaderOf(1, 8);
    request.mutable_header()->mutable_pull()->set_chunk_bytes(chunk_bytes);
    return request;
  }
  template <typename Request>
  static Request Chunk(uint64_t offset, const std::string& data) {
    Request request;
    request.mutable_chunk()->set_offset(offset);
    request.mutable_chunk()->set_crc32c(Crc32c(data.data(), data.size()));
    request.mutable_chunk()->set_data(data);
    return request;
  }
  static v1::PullRequest Pull(uint32_t chunk_bytes = 0) {
    v1::PullRequest request;
    request.set_model("m");
    request.set_chunk_bytes(chunk_bytes);
    return request;
  }

  telemetry::Metrics metrics_;
  BufferPool pool_;
  FakeEngine engine_;
  std::function<AccessRole(const grpc::AuthContext&)> role_of_;
  std::unique_ptr<Guard> guard_;
  ServiceContext context_;
  std::unique_ptr<GrpcServer> grpc_;
  std::shared_ptr<grpc::Channel> channel_;
};

}  // namespace stepback
