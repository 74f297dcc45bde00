#include "tests/property/trainer.h"

#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>

#include "gtest/gtest.h"
#include "server/embed/embedded_server.h"

namespace stepback::property {
namespace {

template <typename T>
T Must(absl::StatusOr<T> value, const char* call) {
  if (!value.ok()) {
    std::fprintf(stderr, "%s: %s\n", call, value.status().ToString().c_str());
    std::abort();
  }
  return *std::move(value);
}

client::TensorBuffers Buffers(const std::vector<client::Tensor>& tensors, const Flat& flat) {
  client::TensorBuffers buffers = Must(client::TensorBuffers::Make(tensors), "Make");
  size_t done = 0;
  for (size_t t = 0; t < tensors.size(); ++t) {
    std::memcpy(buffers.bytes(t).data(), flat.data() + done, buffers.bytes(t).size());
    done += buffers.floats(t).size();
  }
  return buffers;
}

Flat FlatOf(const client::TensorBuffers& buffers) {
  Flat flat;
  for (size_t t = 0; t < buffers.size(); ++t) {
    flat.insert(flat.end(), buffers.floats(t).begin(), buffers.floats(t).end());
  }
  return flat;
}

}  // namespace

client::Server& TheServer() {
  static EmbeddedServer* embedded = Must(StartEmbedded({}), "StartEmbedded").release();
  static std::shared_ptr<client::Server>* server = new std::shared_ptr<client::Server>(
      Must(client::Server::Connect({.address = embedded->address()}), "Connect"));
  return **server;
}

uint64_t SeedOf(const std::string& test) {
  const char* fixed = std::getenv("STEPBACK_SEED");
  const uint64_t seed = fixed != nullptr ? std::strtoull(fixed, nullptr, 10) : std::random_device{}();
  std::printf("%s: STEPBACK_SEED=%llu\n", test.c_str(), static_cast<unsigned long long>(seed));
  return seed;
}

Flat RandomFlat(std::mt19937_64& random, size_t count, float scale) {
  std::normal_distribution<float> normal(0, scale);
  Flat flat(count);
  for (float& x : flat) x = normal(random);
  return flat;
}

std::vector<client::Tensor> Trainer::DefaultTensors() {
  return {
      {.name = "weight", .shape = {7, 13}}, {.name = "bias", .shape = {5}}, {.name = "scale", .shape = {}}};
}

size_t Trainer::DefaultCount() { return 7 * 13 + 5 + 1; }

Trainer::Trainer(client::ModelDefinition definition, const Flat& weights) {
  static std::atomic<int> number{0};
  name_ = "property-" + std::to_string(number++);
  definition.name = name_;
  if (definition.tensors.empty()) definition.tensors = DefaultTensors();
  const client::TensorBuffers buffers = Buffers(definition.tensors, weights);
  model_ = std::make_unique<client::Model>(
      Must(TheServer().CreateModel(definition, buffers.data()), "CreateModel"));
}

Trainer::~Trainer() {
  workers_.clear();
  EXPECT_TRUE(TheServer().DeleteModel(name_).ok());
}

client::Worker& Trainer::worker(const std::string& id) {
  std::unique_ptr<client::Worker>& worker = workers_[id];
  if (worker == nullptr) {
    worker = Must(model_->Join(id), "Join");
    PullAs(id);
  }
  return *worker;
}

client::PushResult Trainer::PushGradient(const std::string& id, const Flat& gradient,
                                         const client::PushOptions& options) {
  const client::TensorBuffers buffers = Buffers(model_->tensors(), gradient);
  return Must(worker(id).PushGradient(buffers.data(), options), "PushGradient");
}

absl::StatusOr<client::PushResult> Trainer::TryPushGradient(const std::string& id, const Flat& gradient) {
  const client::TensorBuffers buffers = Buffers(model_->tensors(), gradient);
  return worker(id).PushGradient(buffers.data());
}

client::PushResult Trainer::PushWeights(const std::string& id, const Flat& weights,
                                        const client::PushOptions& options) {
  const client::TensorBuffers buffers = Buffers(model_->tensors(), weights);
  return Must(worker(id).PushWeights(buffers.data(), options), "PushWeights");
}

Flat Trainer::PullAs(const std::string& id) {
  client::TensorBuffers buffers = Must(client::TensorBuffers::Make(model_->tensors()), "Make");
  Must(workers_.at(id)->Pull(buffers.sinks()), "Pull");
  return FlatOf(buffers);
}

Flat Trainer::Read(const std::string& view) {
  client::TensorBuffers buffers = Must(client::TensorBuffers::Make(model_->tensors()), "Make");
  Must(model_->Pull(buffers.sinks(), {.view = view}), "Pull");
  return FlatOf(buffers);
}

client::ModelInfo Trainer::Info() {
  return Must(TheServer().DescribeModel(name_, {.state_hash = true, .tensors = false}), "DescribeModel");
}

client::ModelDefinition GradientModel(client::Rule inner, client::Rule outer, uint32_t sync_period) {
  client::ModelDefinition definition;
  definition.mode = client::Mode::kGradient;
  definition.inner = std::move(inner);
  definition.outer = std::move(outer);
  definition.sync_period = sync_period;
  definition.rounds.policy = client::RoundPolicy::kAsync;
  definition.rounds.max_staleness = 1000000;
  definition.durability = client::Durability::kVolatile;
  return definition;
}

client::ModelDefinition DeltaModel(client::Rule outer, uint32_t workers, client::Reduction reduction) {
  client::ModelDefinition definition;
  definition.mode = client::Mode::kDelta;
  definition.outer = std::move(outer);
  definition.rounds.quorum = workers;
  definition.rounds.reduction = reduction;
  definition.durability = client::Durability::kVolatile;
  return definition;
}

double RelativeDifference(const Flat& a, const Flat& b) {
  double difference = 0, size = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference = std::max(difference, std::abs(double{a[i]} - double{b[i]}));
    size = std::max(size, std::abs(double{b[i]}));
  }
  return difference / size;
}

}  // namespace stepback::property
