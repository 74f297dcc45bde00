// The client over real gRPC, against a server made of generated stubs: what we encode by hand is the proto.
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "stepback/client.h"
#include "tests/fakes/grpc_server.h"

namespace stepback::client {
namespace {

using fakes::Faults;
using std::chrono::milliseconds;

class ClientGrpc : public ::testing::Test {
 protected:
  ConnectOptions Options() {
    ConnectOptions options{.address = grpc_.address()};
    options.retry = {.backoff_initial = milliseconds(5), .backoff_max = milliseconds(50)};
    options.chunk_bytes = 64 << 10;
    return options;
  }
  Model MakeModel(uint64_t elements, Mode mode = Mode::kDelta, RoundPolicy policy = RoundPolicy::kSync) {
    server_ = Server::Connect(Options()).value();
    ModelDefinition definition{.name = "lm",
                               .tensors = {{"w", {elements}}, {"n", {3}, DataType::kU8, Role::kCarried}},
                               .mode = mode};
    definition.rounds.policy = policy;
    return server_->CreateModel(definition, {}).value();
  }

  fakes::TrainingServer fake_;
  fakes::GrpcServer grpc_{&fake_};
  std::shared_ptr<Server> server_;
};

TEST_F(ClientGrpc, ConnectsAndAsks) {
  const auto server = Server::Connect(Options()).value();
  EXPECT_EQ(server->CheckHealth().value(), "SERVING");
  EXPECT_EQ(server->Info()->version, "fake");
  const absl::Status missing = server->OpenModel("lm").status();
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ErrorReason(missing), "MODEL_NOT_FOUND");
  EXPECT_EQ(ErrorMetadata(missing).at("who"), "fake");
}

TEST_F(ClientGrpc, NobodyThereIsUnavailableInTime) {
  ConnectOptions options = Options();
  grpc_.Stop();
  options.connect_timeout = milliseconds(100);
  const absl::Status status = Server::Connect(options).status();
  EXPECT_TRUE(absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status)) << status;
}

TEST_F(ClientGrpc, StepsInPlaceFollowTheClosedForm) {
  const Model model = MakeModel(300'000);
  auto worker = model.Join("a").value();
  TensorBuffers weights = TensorBuffers::Make(model.tensors()).value();
  ASSERT_TRUE(worker->Pull(weights.sinks()).ok());
  for (int i = 1; i <= 3; ++i) {
    for (float& w : weights.floats(0)) w += 0.5f;
    weights.bytes(1)[0] = static_cast<std::byte>(i);
    const auto step = worker->Step(weights.data(), weights.sinks());
    ASSERT_TRUE(step.ok()) << step.status();
    EXPECT_EQ(step->pull.version, (Version{1, static_cast<uint64_t>(i)}));
  }
  for (const float w : weights.floats(0)) ASSERT_EQ(w, 1.5f);
  EXPECT_EQ(weights.bytes(1)[0], std::byte{3});
  EXPECT_EQ(fake_.floats(0)[299'999], 1.5f);
}

TEST_F(ClientGrpc, GradientsLeaveFromTheCallersMemory) {
  const Model model = MakeModel(1'000'000, Mode::kGradient, RoundPolicy::kAsync);
  auto worker = model.Join("a").value();
  TensorBuffers weights = TensorBuffers::Make(model.tensors()).value();
  ASSERT_TRUE(worker->Pull(weights.sinks()).ok());
  {
    TensorBuffers gradient = TensorBuffers::Make(model.tensors()).value();
    for (size_t i = 0; i < 1'000'000; ++i) gradient.floats(0)[i] = static_cast<float>(i % 100);
    const auto push = worker->PushGradient(gradient.data());
    ASSERT_TRUE(push.ok()) << push.status();
    EXPECT_EQ(push->outcome, Outcome::kApplied);
  }
  EXPECT_EQ(fake_.floats(0)[999'999], -0.1f * 99);
  EXPECT_EQ(worker->statistics().payload_bytes_sent, 4'000'003u);
}

TEST_F(ClientGrpc, ABrokenUploadResumes) {
  const Model model = MakeModel(300'000);
  auto worker = model.Join("a").value();
  TensorBuffers weights = TensorBuffers::Make(model.tensors()).value();
  ASSERT_TRUE(worker->Pull(weights.sinks()).ok());
  for (float& w : weights.floats(0)) w += 1;
  fake_.Inject([](Faults* faults) { faults->break_uploads = 2, faults->break_after_chunks = 6; });
  const auto step = worker->Step(weights.data(), weights.sinks());
  ASSERT_TRUE(step.ok()) << step.status();
  EXPECT_EQ(fake_.Count("resumed_bytes"), (6u + 12) * (64 << 10));
  EXPECT_EQ(fake_.floats(0)[7], 1.0f);
}

TEST_F(ClientGrpc, AServerThatGoesAwayAndComesBackIsFoundAgain) {
  const Model model = MakeModel(100'000, Mode::kDelta, RoundPolicy::kAsync);
  auto worker = model.Join("a").value();
  TensorBuffers weights = TensorBuffers::Make(model.tensors()).value();
  ASSERT_TRUE(worker->Pull(weights.sinks()).ok());
  for (int i = 1; i <= 4; ++i) {
    std::thread outage;
    if (i == 3) {
      grpc_.Stop();
      fake_.Restart();
      outage = std::thread([&] { grpc_.Start(); });
    }
    for (float& w : weights.floats(0)) w += 1;
    const auto step = worker->Step(weights.data(), weights.sinks());
    if (outage.joinable()) outage.join();
    ASSERT_TRUE(step.ok()) << step.status();
    ASSERT_EQ(step->outcome, Outcome::kApplied);
  }
  EXPECT_EQ(fake_.floats(0)[0], 4.0f);
  EXPECT_EQ(fake_.applied("a"), (std::vector<uint64_t>{1, 2, 3, 4}));
  EXPECT_EQ(worker->statistics().replays, 2u);
}

TEST_F(ClientGrpc, OnlyTheCallerCancels) {
  const Model model = MakeModel(1000, Mode::kDelta, RoundPolicy::kAsync);
  auto worker = model.Join("a").value();
  TensorBuffers weights = TensorBuffers::Make(model.tensors()).value();
  ASSERT_TRUE(worker->Pull(weights.sinks()).ok());
  for (float& w : weights.floats(0)) w += 1;
  fake_.Inject([](Faults* faults) { faults->cancel_answers = 1; });
  const auto step = worker->Step(weights.data(), weights.sinks());
  ASSERT_TRUE(step.ok()) << step.status();
  EXPECT_EQ(fake_.applied("a"), (std::vector<uint64_t>{1}));
  EXPECT_EQ(worker->statistics().reconnects, 1u);
}

TEST_F(ClientGrpc, TheCallersMemoryIsFreeAfterACancelledPush) {
  const Model model = MakeModel(1'000'000, Mode::kGradient);
  auto worker = model.Join("a").value();
  TensorBuffers weights = TensorBuffers::Make(model.tensors()).value();
  ASSERT_TRUE(worker->Pull(weights.sinks()).ok());
  auto gradient = std::make_unique<TensorBuffers>(TensorBuffers::Make(model.tensors()).value());
  std::thread other([&] {
    while (fake_.Count("chunk") < 3) std::this_thread::yield();
    worker->Cancel();
  });
  const auto push = worker->PushGradient(gradient->data());
  gradient.reset();  // under the address sanitizer a late read would show
  other.join();
  EXPECT_TRUE(push.ok() || absl::IsCancelled(push.status())) << push.status();
}

TEST_F(ClientGrpc, ExportToFileIsWholeOrNotThere) {
  const Model model = MakeModel(1000);
  const std::string path = ::testing::TempDir() + "/client_grpc_export.bin";
  std::remove(path.c_str());
  const auto exported = server_->ExportModelToFile("lm", path);
  ASSERT_TRUE(exported.ok()) << exported.status();
  EXPECT_EQ(exported->bytes, 4003u);
  EXPECT_EQ(server_->ImportModelFromFile("lm", path)->definition.name, "lm");
  EXPECT_EQ(fake_.Count("imported_bytes"), 4003u);
  EXPECT_FALSE(server_->ExportModelToFile("lm", "/nowhere/x").ok());
  std::remove(path.c_str());
}

}  // namespace
}  // namespace stepback::client
