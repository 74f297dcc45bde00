// One published version: immutable, what pulls read and snapshots write. Arrays are separately counted, so an array that
// a commit does not change is shared with the version before (memory law, decisions 5).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "kernels/rule_info.h"
#include "server/core/client_table.h"
#include "server/core/layout.h"
#include "server/core/push.h"
#include "server/core/spec.h"
#include "server/core/version.h"

namespace stepback {

using Array = std::shared_ptr<const kernels::Buffer>;   // layout.arena_floats() floats

// Per tensor: what the rules' host scalars need.
struct TensorCounters {
  int64_t inner_steps = 0;                           // of this tensor (skipped when absent)
  int64_t outer_steps = 0;
  double inner_carry[kernels::kMaxCarry] = {1, 1, 1, 1};   // running fp64 products (decisions 22)
  double outer_carry[kernels::kMaxCarry] = {1, 1, 1, 1};
};

// What an extrapolation combines (extrapolation.h). Without deltas: the last slow weights; residual i is
// iterate i + 1 less iterate i. With deltas: residual i is delta i, and iterate i is array i, the slow
// weights at the beginning of interval i, less delta i.
struct Iterates {
  std::vector<Array> arrays;  // oldest first
  std::vector<Array> deltas;
  std::vector<double> products;  // of the residuals with each other, row by row
  std::vector<double> weights;   // of the combination, one per residual; from the others: not in the state
};

// One average of the slow weights (ModelSpec::averages).
struct AverageState {
  Array value;  // null before the first sample: phi is served; carried and frozen tensors always are phi's
  int64_t samples = 0;
  double carry[kernels::kMaxCarry] = {1, 1, 1, 1};
  Iterates iterates;  // extrapolations, whose value is null
};

// One fragment of a model that has them.
struct FragmentState {
  Version version;          // of the model, when it changed last
  uint64_t outer_steps = 0;
  uint64_t inner_steps = 0;
  uint64_t samples = 0;
};

// The hyperparameters that one rule of a commit went by, schedules applied.
struct RuleRates {
  const kernels::RuleInfo* rule = nullptr;
  std::vector<double> values;  // in the order of rule->hypers
};

struct ModelVersion {
  Version version;
  uint64_t settings_version = 1;
  std::shared_ptr<const ModelSpec> spec;       // with the settings of this version
  std::shared_ptr<const Layout> layout;

  Array phi;
  Array theta;                                 // == phi in delta mode, and right after a sync
  std::vector<Array> inner_slots;              // kMaxSlots entries, null where unused
  std::vector<Array> outer_slots;
  std::vector<Array> caches;                   // pullback caches, parallel to inner_slots
  std::vector<AverageState> averages;          // parallel to spec->averages
  std::shared_ptr<const std::vector<TensorCounters>> counters;
  std::shared_ptr<const ClientTable> clients;  // exactly the pushes that this version and its predecessors decided

  std::vector<FragmentState> fragments;        // parallel to layout->fragments()

  // With fragments: outer_steps counts those of all; inner_steps and samples are of the one that has come
  // furthest.
  uint64_t sync_phase = 0;                     // gradient mode: inner steps since the last sync
  uint64_t inner_steps = 0;
  uint64_t outer_steps = 0;
  uint64_t samples = 0;
  bool finished = false;

  // Of the commit that made this version (0 without one).
  double update_norm = 0;                      // of the mean gradient or delta
  double weight_norm = 0;
  double distance = 0;                         // |phi - theta| before the sync's merge
  double merge_share = -1;                     // the step size that an adaptive outer rule chose; -1: none
  // The inner rules' (one per group with a rule of its own), then the outer one's if it had an outer step.
  std::shared_ptr<const std::vector<RuleRates>> rates;
};

// When the model, or one fragment of it, changed last.
inline const Version& ChangedAt(const ModelVersion& version, std::optional<uint32_t> fragment) {
  return fragment.has_value() ? version.fragments[*fragment].version : version.version;
}
// Outer steps of the whole model: with fragments, of the one that is furthest behind.
uint64_t SyncsOf(const ModelVersion& version);
// Those of one round's part of the model.
inline uint64_t OuterStepsOf(const ModelVersion& version, std::optional<uint32_t> fragment) {
  return fragment.has_value() ? version.fragments[*fragment].outer_steps : version.outer_steps;
}
// All fragments changed with this version (creation, import, restore).
void MarkFragmentsChanged(ModelVersion* version);

// XXH3-128 over weights, slots, counters and version ("state hash", decisions 1), hex. The session table is not in it.
absl::StatusOr<std::string> StateHash(const ModelVersion& version, kernels::Backend* backend);

}  // namespace stepback
