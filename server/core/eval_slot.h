// Inner rules that average by themselves (asgd, schedule-free, gpa) keep two points: the weights, where
// trainers take gradients, and a slot that starts as a copy of them, which evaluators read. Either all
// trained tensors of a model have such a rule or none has, and no slow weights go with it. Pure functions.
#pragma once

#include "absl/status/status.h"
#include "server/core/spec.h"

namespace stepback {

// Index of the inner slot that readers of the "eval" view get for trained tensors; -1: they get the slow
// weights.
int EvalSlotOf(const ModelSpec& spec);

// INVALID_ARGUMENT naming field, value and bound: such a rule together with an outer rule, or rules whose
// evaluators would read different arrays. "none" goes with all: its tensors stay what they are.
absl::Status CheckEvalSlot(const ModelSpec& spec);

}  // namespace stepback
