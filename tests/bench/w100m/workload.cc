#include "tests/bench/w100m/workload.h"

#include <fmt/format.h>

#include <cmath>

namespace stepback::bench {
namespace {

constexpr uint64_t kTensors = 96;
constexpr uint64_t kTensorElements = 1'048'576;

}  // namespace

client::ModelDefinition DefinitionOf(const std::string& name, uint64_t parameters) {
  client::ModelDefinition definition{.name = name, .mode = client::Mode::kGradient};
  const uint64_t each = std::min(kTensorElements, std::max<uint64_t>(parameters / kTensors, 1));
  for (uint64_t t = 0, left = parameters; left > 0; ++t) {
    const uint64_t elements = t + 1 == kTensors ? left : std::min(each, left);
    definition.tensors.push_back({fmt::format("layer{:02}", t), {elements}});
    left -= elements;
  }
  definition.inner = client::Rule{"sgd", {{"lr", kLearningRate}}};
  definition.outer = client::Rule{"none"};
  definition.rounds.policy = client::RoundPolicy::kAsync;
  definition.rounds.max_staleness = UINT32_MAX;
  definition.durability = client::Durability::kVolatile;
  return definition;
}

void FillGradient(uint32_t index, client::TensorBuffers* gradient) {
  uint64_t i = 0;
  for (size_t t = 0; t < gradient->size(); ++t) {
    for (float& g : gradient->floats(t)) g = GradientAt(index, i++);
  }
}

std::string VerifyWeights(const client::TensorBuffers& weights, uint32_t workers, uint64_t pushes) {
  double scale = 0;  // of the pattern, over all pushes
  for (uint32_t index = 0; index < workers; ++index) scale += static_cast<double>(pushes) * (index + 1);
  const double largest = kLearningRate * scale * 125.0 / 1024.0;
  const double bound = (static_cast<double>(pushes) * workers + 2) * std::ldexp(largest, -23);
  uint64_t i = 0;
  for (size_t t = 0; t < weights.size(); ++t) {
    for (const float w : weights.floats(t)) {
      const double expected = -kLearningRate * scale * GradientAt(0, i);
      if (!(std::abs(w - expected) <= bound)) {
        return fmt::format("element {} is {:.9g}, expected {:.9g} within {:.3g}", i, w, expected, bound);
      }
      ++i;
    }
  }
  return "";
}

}  // namespace stepback::bench
