// Reads one version as differences from an earlier one, or in full where that is smaller
// (PullSpec::difference).
//
// Threads: Chunk() from any.
#pragma once

#include <memory>
#include <vector>

#include "server/engine/difference_chain.h"
#include "server/engine/published.h"

namespace stepback {

class DifferenceReader final : public PullReader {
 public:
  // Of `pin`'s version or a newer one. INVALID_ARGUMENT (CODEC_UNKNOWN, LAYOUT_MISMATCH, BAD_CHUNK),
  // FAILED_PRECONDITION(AVERAGE_NOT_CONFIGURED), RESOURCE_EXHAUSTED(MEMORY_FULL).
  static absl::StatusOr<std::unique_ptr<PullReader>> Make(Published* published, std::shared_ptr<Pin> pin,
                                                          const PullSpec& spec);

  uint64_t total_bytes() const override { return total_bytes_; }
  uint64_t chunk_count() const override { return (total_bytes_ + chunk_bytes_ - 1) / chunk_bytes_; }
  absl::StatusOr<ChunkOut> Chunk(uint64_t index) override;
  const PinnedVersion& pin() const override { return *pin_; }
  std::optional<Difference> difference() const override { return answer_.what; }

 private:
  DifferenceReader(std::shared_ptr<Pin> pin, DifferenceChain::Answer answer, uint64_t chunk_bytes);

  const std::shared_ptr<Pin> pin_;
  const DifferenceChain::Answer answer_;
  const uint64_t chunk_bytes_;
  uint64_t total_bytes_ = 0;
};

}  // namespace stepback
