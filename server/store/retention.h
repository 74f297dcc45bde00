// Which snapshots may go. Pure: the decision, not the deed.
#pragma once

#include <cstdint>
#include <vector>

namespace stepback {

struct StoredGeneration {
  uint64_t generation = 0;
  bool is_labelled = false;  // kept until someone deletes it
  bool is_readable = true;   // its manifest decodes; otherwise nobody knows its label: left to the operator
  bool is_verified = false;  // written or loaded whole by this process
  bool is_damaged = false;   // did not verify
};

// Generations to remove so that the newest `keep` (at least 2) sound, unlabelled ones stay. The newest
// verified one stays when no other verified one would.
std::vector<uint64_t> ChooseRemovals(std::vector<StoredGeneration> stored, uint32_t keep);

// Whether removing `generation` leaves another one that is known to verify. Removing a damaged one is always
// fine.
bool MayRemove(const std::vector<StoredGeneration>& stored, uint64_t generation);

}  // namespace stepback
