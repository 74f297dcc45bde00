#include "tests/integration/test_server.h"

#include <unistd.h>

#include <cstring>
#include <fstream>
#include <sstream>
#include <utility>

#include "gtest/gtest.h"
#include "tests/support/grpc_reason.h"

namespace stepback {
namespace {

// A call that hangs fails its test instead of stopping all of them.
void SetDeadline(grpc::ClientContext* context) {
  context->set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
}

void AddTensors(const std::vector<uint64_t>& sizes, v1::ModelSpec* spec) {
  for (size_t i = 0; i < sizes.size(); ++i) {
    v1::Tensor* const tensor = spec->add_tensors();
    tensor->set_name("t" + std::to_string(i));
    tensor->add_shape(sizes[i]);
    tensor->set_dtype(v1::DATA_TYPE_F32);
  }
}

// Reads a version from Pull or Step, checking offsets and checksums as a client must.
class VersionReader {
 public:
  template <typename Response>
  void Take(const Response& message) {
    if (message.has_waiting()) ++result.waiting;
    if (message.has_header()) result.header = message.header();
    if (message.has_chunk()) TakeChunk(message.chunk());
    if (message.has_commit()) TakeCommit(message.commit());
  }

  PullResult result;

 private:
  void TakeChunk(const v1::Chunk& chunk) {
    sound_ = sound_ && chunk.offset() == result.data.size() &&
             chunk.crc32c() == Crc32c(chunk.data().data(), chunk.data().size());
    const uint32_t crc = chunk.crc32c();
    crc_ = ExtendCrc32c(crc_, &crc, sizeof crc);
    result.data += chunk.data();
    ++result.chunks;
  }
  void TakeCommit(const v1::Commit& commit) {
    result.commit = commit;
    result.committed = sound_ && commit.crc32c() == crc_ && result.data.size() == result.header.total_bytes();
  }

  bool sound_ = true;
  uint32_t crc_ = 0;
};

}  // namespace

std::string BytesOf(const Floats& floats) {
  return {reinterpret_cast<const char*>(floats.data()), floats.size() * sizeof(float)};
}

Floats FloatsOf(const std::string& bytes) {
  Floats floats(bytes.size() / sizeof(float));
  std::memcpy(floats.data(), bytes.data(), floats.size() * sizeof(float));
  return floats;
}

v1::ModelSpec DeltaSpec(const std::string& name, const std::vector<uint64_t>& sizes, double lr) {
  v1::ModelSpec spec;
  spec.set_name(name);
  AddTensors(sizes, &spec);
  spec.set_mode(v1::TRAINING_MODE_DELTA);
  spec.mutable_outer()->set_name("nesterov");
  (*spec.mutable_outer()->mutable_values())["lr"] = lr;
  (*spec.mutable_outer()->mutable_values())["momentum"] = 0;
  spec.set_durability(v1::DURABILITY_VOLATILE);
  return spec;
}

v1::ModelSpec GradientSpec(const std::string& name, const std::vector<uint64_t>& sizes, double lr,
                           uint32_t sync_period) {
  v1::ModelSpec spec;
  spec.set_name(name);
  AddTensors(sizes, &spec);
  spec.set_mode(v1::TRAINING_MODE_GRADIENT);
  spec.mutable_inner()->set_name("sgd");
  (*spec.mutable_inner()->mutable_values())["lr"] = lr;
  spec.mutable_outer()->set_name("lookahead");
  spec.set_sync_period(sync_period);
  spec.mutable_rounds()->set_policy(v1::ROUND_POLICY_ASYNC);
  spec.set_durability(v1::DURABILITY_VOLATILE);
  return spec;
}

Config TestServer::DefaultConfig() {
  Config config;
  config.server.listen = "127.0.0.1:0";
  config.server.http_listen = "";
  config.compute.threads = 2;
  return config;
}

TestServer::TestServer(const Config& config, const Server::Tuning& tuning) {
  SetLogLevel(LogLevel::kError);
  absl::StatusOr<std::unique_ptr<Server>> server = Server::Start(config, tuning);
  if (!server.ok()) {
    ADD_FAILURE() << server.status();
    std::abort();
  }
  server_ = *std::move(server);
  channel_ = grpc::CreateChannel(server_->grpc_address(), grpc::InsecureChannelCredentials());
  models_ = v1::ModelService::NewStub(channel_);
  training_ = v1::TrainingService::NewStub(channel_);
  admin_ = v1::AdminService::NewStub(channel_);
}

std::string TestServer::Create(const v1::ModelSpec& spec, const Floats& weights, bool* created) {
  v1::CreateModelRequest header;
  *header.mutable_header()->mutable_spec() = spec;
  header.mutable_header()->set_total_bytes(weights.size() * sizeof(float));
  grpc::ClientContext context;
  SetDeadline(&context);
  v1::CreateModelResponse response;
  const auto writer = models_->CreateModel(&context, &response);
  writer->Write(header);
  for (const auto& chunk : ChunksOf<v1::CreateModelRequest>(BytesOf(weights), 1 << 20)) writer->Write(chunk);
  writer->WritesDone();
  const std::string told = Told(writer->Finish());
  if (created != nullptr) *created = response.created();
  return told;
}

std::string TestServer::CreateRaw(const v1::CreateModelRequest::Header& header, const std::string& data) {
  v1::CreateModelRequest request;
  *request.mutable_header() = header;
  grpc::ClientContext context;
  SetDeadline(&context);
  v1::CreateModelResponse response;
  const auto writer = models_->CreateModel(&context, &response);
  writer->Write(request);
  for (const auto& chunk : ChunksOf<v1::CreateModelRequest>(data, 1 << 20)) writer->Write(chunk);
  writer->WritesDone();
  return Told(writer->Finish());
}

v1::OpenSessionResponse TestServer::Open(const std::string& model, const std::string& client,
                                         v1::SessionRole role) {
  v1::OpenSessionRequest request;
  request.set_model(model);
  request.set_client_id(client);
  request.set_role(role);
  request.set_protocol_version(1);
  grpc::ClientContext context;
  SetDeadline(&context);
  v1::OpenSessionResponse response;
  const grpc::Status status = training_->OpenSession(&context, request, &response);
  EXPECT_TRUE(status.ok()) << Told(status) << " " << status.error_message();
  return response;
}

v1::PushHeader TestServer::Header(const std::string& model, const std::string& client, uint64_t sequence,
                                  v1::PushKind kind) {
  v1::PushHeader header;
  header.set_model(model);
  header.set_client_id(client);
  header.set_epoch(1);
  header.set_sequence(sequence);
  header.set_kind(kind);
  *header.mutable_base() = Model(model).version();
  return header;
}

PushResult TestServer::Push(v1::PushHeader header, const Floats& values, size_t chunk_bytes) {
  header.set_total_bytes(values.size() * sizeof(float));
  return PushBytes(header, BytesOf(values), chunk_bytes);
}

PushResult TestServer::PushBytes(const v1::PushHeader& header, const std::string& data, size_t chunk_bytes) {
  v1::PushRequest first;
  *first.mutable_header() = header;
  grpc::ClientContext context;
  SetDeadline(&context);
  PushResult result;
  const auto writer = training_->Push(&context, &result.response);
  writer->Write(first);
  for (const auto& chunk : ChunksOf<v1::PushRequest>(data, chunk_bytes, header.resume_offset())) {
    if (!writer->Write(chunk)) break;
  }
  writer->WritesDone();
  const grpc::Status status = writer->Finish();
  result.told = Told(status);
  result.message = status.error_message();
  return result;
}

PullResult TestServer::Pull(const v1::PullRequest& request) {
  grpc::ClientContext context;
  SetDeadline(&context);
  const auto stream = training_->Pull(&context, request);
  VersionReader reader;
  v1::PullResponse message;
  while (stream->Read(&message)) reader.Take(message);
  reader.result.told = Told(stream->Finish());
  return reader.result;
}

PullResult TestServer::Pull(const std::string& model, const std::string& view) {
  v1::PullRequest request;
  request.set_model(model);
  request.set_view(view);
  return Pull(request);
}

StepResult TestServer::Step(v1::PushHeader header, const Floats& values, v1::PullRequest pull) {
  header.set_total_bytes(values.size() * sizeof(float));
  v1::StepRequest first;
  *first.mutable_header()->mutable_push() = header;
  *first.mutable_header()->mutable_pull() = std::move(pull);
  grpc::ClientContext context;
  SetDeadline(&context);
  const auto stream = training_->Step(&context);
  stream->Write(first);
  for (const auto& chunk : ChunksOf<v1::StepRequest>(BytesOf(values), 1 << 20)) stream->Write(chunk);
  stream->WritesDone();
  StepResult result;
  VersionReader reader;
  v1::StepResponse message;
  while (stream->Read(&message)) {
    if (message.has_accepted()) result.accepted = message.accepted();
    reader.Take(message);
  }
  reader.result.told = Told(stream->Finish());
  result.pull = std::move(reader.result);
  return result;
}

v1::Model TestServer::Model(const std::string& name) {
  v1::GetModelRequest request;
  request.set_name(name);
  request.set_state_hash(true);
  grpc::ClientContext context;
  SetDeadline(&context);
  v1::GetModelResponse response;
  const grpc::Status status = models_->GetModel(&context, request, &response);
  EXPECT_TRUE(status.ok()) << Told(status) << " " << status.error_message();
  return response.model();
}

uint64_t TestServer::MessagesReceived(const std::string& method) {
  std::istringstream page(server_->metrics()->Scrape());
  for (std::string line; std::getline(page, line);) {
    const bool found = line.rfind("grpc_server_msg_received_total{", 0) == 0 &&
                       line.find("\"" + method + "\"") != std::string::npos;
    if (found) return std::strtoull(line.c_str() + line.rfind(' '), nullptr, 10);
  }
  return 0;
}

uint64_t ResidentBytes() {
  std::ifstream statm("/proc/self/statm");
  uint64_t total = 0, resident = 0;
  statm >> total >> resident;
  return resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace stepback
