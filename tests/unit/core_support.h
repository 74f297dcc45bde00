// A model with workers for the core's tests: specifications, payloads, time that the test moves, and arrays
// as plain numbers. Everything runs on the calling thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "server/core/model.h"
#include "server/core/spec.h"

namespace stepback::core_test {

using Floats = std::vector<float>;

// What a push holds of one tensor: numbers, or a carried tensor's bytes.
struct TensorData {
  Floats floats;
  std::string bytes;
  bool present = true;
};
using PushData = std::vector<TensorData>;  // parallel to the tensor table; frozen entries are ignored

TensorSpec Trained(const std::string& name, std::vector<uint64_t> shape);
RuleSpec Rule(const std::string& name, std::map<std::string, double> values = {});
// One trained tensor "w" of `elements`; defaults filled in.
ModelSpec DeltaSpec(uint64_t elements, RuleSpec outer = Rule("average"));
ModelSpec GradientSpec(uint64_t elements, RuleSpec inner, RuleSpec outer, uint32_t sync_period);

// The bitmap of PushHeader.present, empty when everything is there.
std::vector<uint8_t> PresentOf(const ModelSpec& spec, const PushData& data);
// The payload of a push; cut into pieces of random size when `random` is given.
Payload Encode(const ModelSpec& spec, const PushData& data, const std::string& codec = "f32",
               std::mt19937_64* random = nullptr);
std::string Bytes(const Payload& payload);
PushData OneTensor(Floats floats);

// One tensor of an array as numbers, or as raw bytes.
Floats Read(const ModelVersion& version, const Array& array, size_t tensor);
std::string ReadRaw(const ModelVersion& version, const Array& array, size_t tensor);
// Whole arrays, for comparing bits.
std::string Bits(const Array& array);
// Everything but term, settings and clients: equal strings are equal states.
std::string StateBits(const ModelVersion& version);

struct TestOptions {
  kernels::Backend* backend = nullptr;    // default: the best CPU target
  kernels::Executor* executor = nullptr;  // default: inline
};

class TestModel {
 public:
  // Starts at `weights` (frozen and carried too). CHECKs that the specification is valid.
  TestModel(ModelSpec spec, const PushData& weights, const TestOptions& options = {});
  // Continues from an image.
  TestModel(std::shared_ptr<const ModelVersion> image, uint64_t term, const TestOptions& options = {});

  Model& operator*() { return *model_; }
  Model* operator->() { return model_.get(); }
  const ModelVersion& version() const { return *model_->current(); }
  const ModelSpec& spec() const { return *model_->current()->spec; }

  // Opens a session for `client`, whose pushes use its epoch from now on.
  void Join(const std::string& client, SessionRole role = SessionRole::kTrainer);
  // A push with the client's next number, based on the present version.
  Push Next(const std::string& client, const PushData& data, const std::string& codec = "f32");
  Effects Apply(Push push) { return model_->Apply(std::move(push), now); }
  Effects Apply(const std::string& client, const PushData& data) { return Apply(Next(client, data)); }
  // The one answer of the call.
  PushAnswer Answer(Push push);
  PushAnswer Answer(const std::string& client, const PushData& data) { return Answer(Next(client, data)); }

  Floats Phi(size_t tensor = 0) const { return Read(version(), version().phi, tensor); }
  Floats Theta(size_t tensor = 0) const { return Read(version(), version().theta, tensor); }

  TimePoint now{std::chrono::hours(1)};
  std::map<std::string, uint64_t> epochs;
  std::map<std::string, uint64_t> sequences;  // last used

 private:
  TestOptions Defaults(TestOptions options);

  std::unique_ptr<kernels::Backend> own_backend_;
  kernels::InlineExecutor inline_;
  std::unique_ptr<Model> model_;
};

// The weights of a model in arena form.
std::unique_ptr<kernels::Buffer> Arena(kernels::Backend* backend, const ModelSpec& spec,
                                       const PushData& weights);

Floats RandomFloats(std::mt19937_64* random, size_t count, float scale = 1);
// The seed of a property test: fixed, printed with every failure, overridden by STEPBACK_TEST_SEED.
uint64_t Seed();

}  // namespace stepback::core_test
