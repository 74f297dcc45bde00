// Whether a specification goes with what its outer rule merges: weights in place of deltas, or a step size
// from the inner rule's curvature; and with delay compensation and clipped contributions. Part of
// ValidateSpec.
#pragma once

#include "absl/status/status.h"
#include "server/core/rule_choice.h"
#include "server/core/spec.h"

namespace stepback {

inline constexpr uint32_t kHistoryVersionsMax = 64;
inline constexpr uint32_t kHistoryVersionsDefault = 8;

// INVALID_ARGUMENT naming the field, its value and what it would take. `rules` are the specification's.
absl::Status CheckMerge(const ModelSpec& spec, const RuleTable& rules);

}  // namespace stepback
