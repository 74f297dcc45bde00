// One published version: immutable, what pulls read and snapshots write. Arrays are separately counted, so an array that
// a commit does not change is shared with the version before (memory law, decisions 5).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/backend.h"
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
  std::shared_ptr<const std::vector<TensorCounters>> counters;
  std::shared_ptr<const ClientTable> clients;  // exactly the pushes that this version and its predecessors decided

  uint64_t sync_phase = 0;                     // gradient mode: inner steps since the last sync
  uint64_t inner_steps = 0;
  uint64_t outer_steps = 0;
  uint64_t samples = 0;
  bool finished = false;

  // Of the commit that made this version (0 without one).
  double update_norm = 0;                      // of the mean gradient or delta
  double weight_norm = 0;
  double distance = 0;                         // |phi - theta| before the sync's merge
};

// XXH3-128 over weights, slots, counters and version ("state hash", decisions 1), hex. The session table is not in it.
absl::StatusOr<std::string> StateHash(const ModelVersion& version, kernels::Backend* backend);

}  // namespace stepback
