#include "server/engine/pending_push.h"

#include <algorithm>

namespace stepback {

PendingPart* PendingPush::Find(uint32_t part) {
  const auto found = parts.find(part);
  return found == parts.end() ? nullptr : &found->second;
}

bool PendingPush::IsComplete() const {
  return parts.size() == part_count &&
         std::all_of(parts.begin(), parts.end(), [](const auto& part) { return part.second.complete; });
}

uint64_t PendingPush::AnnouncedBytes(uint32_t without) const {
  uint64_t bytes = 0;
  for (const auto& [index, part] : parts) {
    if (index != without) bytes += part.layout->total_bytes();
  }
  return bytes;
}

bool PendingPush::IsParked() const {
  if (state != State::kAdmitted || !waiters.empty()) return false;
  return std::none_of(parts.begin(), parts.end(), [](const auto& part) { return part.second.owner != 0; });
}

}  // namespace stepback
