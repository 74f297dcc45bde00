// W-100M: 96 tensors, 95 of 1,048,576 floats and one with the rest; gradient mode, async, sgd 0.001, no outer
// rule.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "stepback/client.h"
#include "tests/bench/w100m/options.h"

namespace stepback::bench {

inline constexpr double kLearningRate = 0.001;

client::ModelDefinition DefinitionOf(const std::string& name, uint64_t parameters);

// Element `i` of worker `index`'s gradient, the same in every round.
inline float GradientAt(uint32_t index, uint64_t i) {
  return static_cast<float>(index + 1) * (static_cast<float>(i % 251) - 125.0f) / 1024.0f;
}
void FillGradient(uint32_t index, client::TensorBuffers* gradient);

// Compares pulled weights with the sum in double precision of `pushes` pushes by each of `workers` workers.
// Returns "" or what is wrong. The bound allows one rounding per update.
std::string VerifyWeights(const client::TensorBuffers& weights, uint32_t workers, uint64_t pushes);

}  // namespace stepback::bench
