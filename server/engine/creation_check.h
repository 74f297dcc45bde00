// Checks what CreateModel asks for before anything is allocated. Pure.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "server/core/layout.h"
#include "server/core/model_version.h"
#include "server/core/spec.h"

namespace stepback {

struct CheckedCreation {
  std::shared_ptr<const ModelSpec> spec;  // with defaults
  std::shared_ptr<const Layout> layout;
  const kernels::CodecInfo* codec = nullptr;
  bool zeros = false;
  uint64_t total_bytes = 0;   // of the initial weights
  uint64_t budget_bytes = 0;  // for pushes
  uint64_t memory_bytes = 0;  // of state and budget, estimated
};

// INVALID_ARGUMENT as ValidateSpec, Layout::Make and StagingBudget say, (CODEC_UNKNOWN, SIZE_MISMATCH);
// UNIMPLEMENTED (durability replicated).
absl::StatusOr<CheckedCreation> CheckCreation(ModelSpec spec, bool zeros, int codec, uint64_t total_bytes);

// INVALID_ARGUMENT (RULE_NEEDS_CPU) when an inner rule of the model does not run on the device of this
// server.
absl::Status CheckDevice(const ModelSpec& spec, const kernels::Backend& backend);

// Whether `spec` describes the model that `existing` is: settings that were changed since its creation do not
// count, so that a restarted worker finds its model after an operator's UpdateModel.
bool IsSameModel(const ModelVersion& existing, const ModelSpec& spec);

}  // namespace stepback
