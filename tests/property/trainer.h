// A small language for property tests through a real server over loopback gRPC: make a model, push, read
// back.
//
//   Trainer t(definition, weights);
//   t.Push("worker-0", gradient);
//   EXPECT_EQ(t.Fast(), t.Slow());
//
// Every failure of a call ends the test with the call's status. Tensors are one flat vector in table order.
#pragma once

#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "stepback/client.h"

namespace stepback::property {

using Flat = std::vector<float>;

// One server for the whole test program, on a port of the system's choice, without a data directory.
client::Server& TheServer();

// Seeds are drawn once per test and printed; STEPBACK_SEED repeats a run.
uint64_t SeedOf(const std::string& test);

Flat RandomFlat(std::mt19937_64& random, size_t count, float scale = 1);

class Trainer {
 public:
  // A model under a fresh name; `definition.tensors` may be empty: three tensors whose sizes have awkward
  // tails.
  Trainer(client::ModelDefinition definition, const Flat& weights);
  ~Trainer();

  static std::vector<client::Tensor> DefaultTensors();
  static size_t DefaultCount();

  // Joins on first use; every worker pulls before its first push, so that it has a base.
  client::Worker& worker(const std::string& id);
  // Pushes and expects the push to be decided without error.
  client::PushResult PushGradient(const std::string& id, const Flat& gradient,
                                  const client::PushOptions& options = {});
  // Pushes the weights that the worker ended its local steps with.
  client::PushResult PushWeights(const std::string& id, const Flat& weights,
                                 const client::PushOptions& options = {});
  absl::StatusOr<client::PushResult> TryPushGradient(const std::string& id, const Flat& gradient);
  // The worker's view of the newest version; becomes its base.
  Flat PullAs(const std::string& id);

  Flat Slow() { return Read("eval"); }
  Flat Fast() { return Read("train"); }
  client::ModelInfo Info();
  std::string StateHash() { return Info().state_hash; }
  const client::Model& model() const { return *model_; }

 private:
  Flat Read(const std::string& view);

  std::string name_;
  std::unique_ptr<client::Model> model_;
  std::map<std::string, std::unique_ptr<client::Worker>> workers_;
};

// A gradient-mode model with one worker that commits every push at once.
client::ModelDefinition GradientModel(client::Rule inner, client::Rule outer, uint32_t sync_period);
// A delta-mode model whose rounds close when `workers` have pushed.
client::ModelDefinition DeltaModel(client::Rule outer, uint32_t workers, client::Reduction reduction);

// max |a - b| over max |b|.
double RelativeDifference(const Flat& a, const Flat& b);

}  // namespace stepback::property
