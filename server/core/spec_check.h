// Checks a ModelSpec once, against the rules' own tables. Every message names field, value and bound.
#pragma once

#include "absl/status/statusor.h"
#include "server/core/layout.h"
#include "server/core/spec.h"

namespace stepback {

// INVALID_ARGUMENT with a field path ("spec.rounds.quorum"); UNIMPLEMENTED for durability replicated.
absl::Status ValidateSpec(const ModelSpec& spec);
// Fills unset rules with their defaults (inner sgd; outer lookahead or nesterov).
ModelSpec WithDefaults(ModelSpec spec);
// The staging budget of decisions 6: spec.staging_bytes, or chosen when 0; INVALID_ARGUMENT when below one largest push
// (running) or max_workers pushes (ordered).
absl::StatusOr<uint64_t> StagingBudget(const ModelSpec& spec, const Layout& layout);
// The same definition (CreateModel with the same name and spec is idempotent).
bool SameDefinition(const ModelSpec& a, const ModelSpec& b);

}  // namespace stepback
