// A real server on a loopback port of the system's choice, and a client that knows nothing but the proto:
// stock stubs, protobuf-encoded messages. What it does, any gRPC language can do.
//
//   TestServer server;
//   ASSERT_EQ(server.Create(DeltaSpec("m", {4}), {1, 2, 3, 4}), "OK");
//   server.Open("m", "worker-0");
//   PushResult pushed = server.Push(server.Header("m", "worker-0", 1, v1::PUSH_KIND_DELTA), {1, 1, 1, 1});
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <grpcpp/grpcpp.h>

#include "server/rpc/server.h"
#include "stepback/v1/admin.grpc.pb.h"
#include "stepback/v1/model.grpc.pb.h"
#include "stepback/v1/training.grpc.pb.h"

namespace stepback {

using Floats = std::vector<float>;

std::string BytesOf(const Floats& floats);
Floats FloatsOf(const std::string& bytes);

// `sizes`: one TRAINED f32 tensor each, "t0", "t1", ... The outer rule is plain: phi -= lr x mean delta.
v1::ModelSpec DeltaSpec(const std::string& name, const std::vector<uint64_t>& sizes, double lr = 1);
// Inner sgd, outer lookahead (alpha 0.5) every `sync_period` steps, every push applied at once.
v1::ModelSpec GradientSpec(const std::string& name, const std::vector<uint64_t>& sizes, double lr,
                           uint32_t sync_period);

struct PushResult {
  std::string told;  // "OK", or code and reason
  std::string message;
  v1::PushResponse response;
};
struct PullResult {
  std::string told;
  v1::PullHeader header;
  std::string data;
  v1::Commit commit;
  int chunks = 0;
  int waiting = 0;
  bool committed = false;  // and every checksum was right
  Floats floats() const { return FloatsOf(data); }
};
struct StepResult {
  v1::PushResponse accepted;
  PullResult pull;
};

// Chunks as a client makes them.
template <typename Request>
std::vector<Request> ChunksOf(const std::string& data, size_t chunk_bytes, uint64_t offset = 0);

class TestServer {
 public:
  static Config DefaultConfig();

  explicit TestServer(const Config& config = DefaultConfig(), const Server::Tuning& tuning = {});

  Server& server() { return *server_; }
  const std::shared_ptr<grpc::Channel>& channel() const { return channel_; }
  v1::ModelService::Stub& models() { return *models_; }
  v1::TrainingService::Stub& training() { return *training_; }
  v1::AdminService::Stub& admin() { return *admin_; }
  void Stop() { server_.reset(); }

  std::string Create(const v1::ModelSpec& spec, const Floats& weights, bool* created = nullptr);
  std::string CreateRaw(const v1::CreateModelRequest::Header& header, const std::string& data);
  v1::OpenSessionResponse Open(const std::string& model, const std::string& client,
                               v1::SessionRole role = v1::SESSION_ROLE_TRAINER);
  // With the epoch and base that Open and Pull have shown.
  v1::PushHeader Header(const std::string& model, const std::string& client, uint64_t sequence,
                        v1::PushKind kind);
  PushResult Push(v1::PushHeader header, const Floats& values, size_t chunk_bytes = 1 << 20);
  PushResult PushBytes(const v1::PushHeader& header, const std::string& data, size_t chunk_bytes = 1 << 20);
  PullResult Pull(const v1::PullRequest& request);
  PullResult Pull(const std::string& model, const std::string& view = "");
  StepResult Step(v1::PushHeader header, const Floats& values, v1::PullRequest pull = {});
  v1::Model Model(const std::string& name);
  // Of one gRPC method, so far.
  uint64_t MessagesReceived(const std::string& method);
  std::string StateHash(const std::string& name) { return Model(name).state_hash(); }

 private:
  std::unique_ptr<Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::ModelService::Stub> models_;
  std::unique_ptr<v1::TrainingService::Stub> training_;
  std::unique_ptr<v1::AdminService::Stub> admin_;
};

// Resident memory of this process in bytes.
uint64_t ResidentBytes();

}  // namespace stepback

#include "tests/integration/test_server.inc"
