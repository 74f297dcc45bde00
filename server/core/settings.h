// Settings that change while a model runs: numbers by dotted path (UpdateModelRequest.values). Pure: the new
// specification, checked whole, or an error and nothing.
//
//   "outer.lr", "inner.lr", "groups.decay.lr", "groups.decay.lr_scale", "sync_period", "rounds.quorum",
//   "rounds.deadline_seconds", "rounds.max_staleness", "rounds.buffer_pushes", "rounds.staleness_exponent",
//   "rounds.grace_seconds", "rounds.grace_factor", "rounds.dynamic_local_steps", "rounds.staleness.exponent",
//   "clip.value", "clip.tensor_norm", "clip.global_norm", "clip.contribution_norm", "rounds.aggregator.f",
//   "outer.schedules.lr.steps", "sync_period_schedule.steps", "lease_seconds", "snapshot_interval_seconds",
//   "finish_after_steps", "finish_after_samples", "fragments.overlap_steps", "fragments.mixing",
//   "quarantine.after", "quarantine.seconds"
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "server/core/spec.h"

namespace stepback {

// INVALID_ARGUMENT naming path, value and bound; a path given twice, or an unknown one with the nearest
// known.
absl::StatusOr<std::shared_ptr<const ModelSpec>> WithSettings(
    const ModelSpec& spec, const std::vector<std::pair<std::string, double>>& values);

}  // namespace stepback
