// Reads one pinned version in chunks: a list of segments of an encoded form, cut into chunks of the size
// asked for.
//
// Threads: Chunk() from any.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "server/engine/engine.h"
#include "server/engine/live_version.h"
#include "server/engine/published.h"

namespace stepback {

inline constexpr uint64_t kPullChunkBytesMin = 4096;

// INVALID_ARGUMENT(BAD_CHUNK).
absl::Status CheckPullChunk(uint64_t chunk_bytes);

class PullReaderImpl final : public PullReader {
 public:
  // INVALID_ARGUMENT (CODEC_UNKNOWN, LAYOUT_MISMATCH, BAD_CHUNK, FRAGMENT_INVALID), ABORTED(VERSION_GONE).
  static absl::StatusOr<std::unique_ptr<PullReader>> Make(std::shared_ptr<Pin> pin, const PullSpec& spec);

  uint64_t total_bytes() const override { return total_bytes_; }
  uint64_t chunk_count() const override { return (total_bytes_ + chunk_bytes_ - 1) / chunk_bytes_; }
  absl::StatusOr<ChunkOut> Chunk(uint64_t index) override;
  const PinnedVersion& pin() const override { return *pin_; }

 private:
  // Bytes [from, from + bytes) of the form lie at `at` in this reader's stream.
  struct Segment {
    uint64_t at = 0;
    uint64_t from = 0;
    uint64_t bytes = 0;
  };

  PullReaderImpl(std::shared_ptr<Pin> pin, std::shared_ptr<EncodedForm> form, uint64_t chunk_bytes);
  absl::Status AddSegments(const std::vector<ElementRange>& ranges);
  absl::Status Gather(uint64_t offset, uint64_t bytes, Payload* to) const;

  const std::shared_ptr<Pin> pin_;
  const std::shared_ptr<EncodedForm> form_;
  const std::shared_ptr<const void> owner_;  // of every slice handed out
  const uint64_t chunk_bytes_;
  uint64_t total_bytes_ = 0;
  std::vector<Segment> segments_;
};

}  // namespace stepback
