#include "server/store/retention.h"

#include <algorithm>

namespace stepback {
namespace {

constexpr uint32_t kKeptMin = 2;

bool IsOrdinary(const StoredGeneration& g) { return g.is_readable && !g.is_labelled; }

}  // namespace

std::vector<uint64_t> ChooseRemovals(std::vector<StoredGeneration> stored, uint32_t keep) {
  std::sort(stored.begin(), stored.end(),
            [](const auto& a, const auto& b) { return a.generation > b.generation; });
  std::vector<uint64_t> removals;
  uint32_t kept = 0;
  bool verified_stays = false;
  for (const StoredGeneration& g : stored) {
    const bool enough = kept >= std::max(keep, kKeptMin);
    const bool last_verified = g.is_verified && !verified_stays;
    if (IsOrdinary(g) && enough && !last_verified) {
      removals.push_back(g.generation);
      continue;
    }
    kept += IsOrdinary(g) && !g.is_damaged;
    verified_stays |= g.is_verified;
  }
  return removals;
}

bool MayRemove(const std::vector<StoredGeneration>& stored, uint64_t generation) {
  bool is_damaged = false, others_verified = false;
  for (const StoredGeneration& g : stored) {
    if (g.generation == generation) {
      is_damaged = g.is_damaged;
    } else {
      others_verified |= g.is_verified;
    }
  }
  return is_damaged || others_verified;
}

}  // namespace stepback
