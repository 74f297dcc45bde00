// A model behind the fake server, and workers on it, without gRPC.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "client/cpp/server_impl.h"
#include "stepback/client.h"
#include "tests/fakes/training_server.h"
#include "tests/fakes/transport.h"

namespace stepback::client {

// Asserts that a status or StatusOr is OK and shows it when not.
#define ASSERT_OK(expr)                                    \
  do {                                                     \
    const absl::Status sb_seen = StatusOf(expr);           \
    ASSERT_TRUE(sb_seen.ok()) << #expr << ": " << sb_seen; \
  } while (false)

inline absl::Status StatusOf(const absl::Status& status) { return status; }
template <typename T>
absl::Status StatusOf(const absl::StatusOr<T>& result) {
  return result.status();
}

inline std::vector<Tensor> SmallTable() {
  return {{"w", {6}},
          {"mean", {2}, DataType::kF32, Role::kAveraged},
          {"steps", {1}, DataType::kI64, Role::kCarried},
          {"frozen", {3}, DataType::kF32, Role::kFrozen}};
}

class ClientFixture : public ::testing::Test {
 protected:
  static ConnectOptions Options() {
    ConnectOptions options;
    options.control_timeout = std::chrono::seconds(20);
    options.idle_timeout = std::chrono::seconds(20);
    options.retry = {.backoff_initial = std::chrono::milliseconds(1),
                     .backoff_max = std::chrono::milliseconds(5),
                     .give_up_after = std::chrono::seconds(20)};
    options.chunk_bytes = 4096;
    return options;
  }

  std::shared_ptr<Server> Connect(const ConnectOptions& options = Options()) {
    auto connector = std::make_shared<fakes::InProcessConnector>(&fake_);
    return std::make_shared<Server>(std::make_shared<ServerImpl>(options, connector));
  }

  static ModelDefinition Definition(std::vector<Tensor> tensors = SmallTable(), Mode mode = Mode::kDelta,
                                    RoundPolicy policy = RoundPolicy::kSync) {
    ModelDefinition definition{.name = "lm", .tensors = std::move(tensors), .mode = mode};
    definition.rounds.policy = policy;
    return definition;
  }

  // A model whose element i of tensor t is 100 t + i.
  Model MakeModel(const ModelDefinition& definition, const ConnectOptions& options = Options()) {
    server_ = Connect(options);
    TensorBuffers weights = TensorBuffers::Make(definition.tensors).value();
    for (size_t t = 0; t < weights.size(); ++t) {
      for (size_t i = 0; i < weights.floats(t).size(); ++i)
        weights.floats(t)[i] = static_cast<float>(100 * t + i);
    }
    absl::StatusOr<Model> model = server_->CreateModel(definition, weights.data());
    EXPECT_TRUE(model.ok()) << model.status();
    return *model;
  }

  fakes::TrainingServer fake_;
  std::shared_ptr<Server> server_;
};

// What a worker trains: its weights, and how to move them.
struct Trainer {
  explicit Trainer(const Model& model) : weights(TensorBuffers::Make(model.tensors()).value()) {}
  void Add(size_t tensor, float x) {
    for (float& w : weights.floats(tensor)) w += x;
  }
  float first(size_t tensor) const { return weights.floats(tensor)[0]; }

  TensorBuffers weights;
};

}  // namespace stepback::client
