// What became of one round and of what it was made: enough to see why, and to check it again (`stepback
// replay`). Plain values, exact to the bit.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "server/core/model_version.h"
#include "server/core/round.h"
#include "server/core/round_policy.h"

namespace stepback {

struct MergeRecord {
  struct Member {
    std::string client_id;
    uint64_t epoch = 0;
    uint64_t sequence = 0;
    Version base;
    PushWeight weight;
    double loss_scale = 1;
    uint64_t staleness = 0;
    uint64_t samples = 0;
    uint64_t local_steps = 0;
    bool skipped = false;
    double taken = 1;  // by the aggregator
  };

  Version before;
  Version after;  // == before: the round ended without effect
  std::optional<uint32_t> fragment;
  std::vector<Member> members;  // in the order of the reduction
  bool outer_step = false;
  // Of the version after.
  uint64_t inner_steps = 0;
  uint64_t outer_steps = 0;
  uint64_t samples = 0;
  double update_norm = 0;
  double weight_norm = 0;
  double distance = 0;
  double merge_share = -1;
  std::shared_ptr<const std::vector<RuleRates>> rates;  // null: nothing was computed
  // How far the round was at `decided_at`, when it ended.
  RoundProgress progress;
  TimePoint decided_at;
};

MergeRecord::Member RecordOf(const RoundMember& member);

}  // namespace stepback
