// Where the bytes of an upload come from, by offset: so that a resumed upload starts in the middle.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "server/base/payload.h"

namespace stepback::client {

class ChunkSource {
 public:
  virtual ~ChunkSource() = default;
  virtual uint64_t total_bytes() const = 0;
  // Bytes [offset, offset + bytes), which lie within the total. RESOURCE_EXHAUSTED when there is no memory.
  virtual absl::StatusOr<Payload> Read(uint64_t offset, uint64_t bytes) = 0;
  // The push is decided; the caller's memory may change from now on.
  virtual absl::Status Complete() { return absl::OkStatus(); }
};

// Keeps what it has read, chunk by chunk, so that the upload can be replayed after the caller's memory is
// gone.
class KeptSource final : public ChunkSource {
 public:
  KeptSource(std::unique_ptr<ChunkSource> source, uint64_t chunk_bytes);

  uint64_t total_bytes() const override { return total_bytes_; }
  absl::StatusOr<Payload> Read(uint64_t offset, uint64_t bytes) override;
  // Reads what was never read and lets go of the source.
  absl::Status Complete() override;

 private:
  absl::Status Fill(size_t chunk);

  std::unique_ptr<ChunkSource> source_;
  const uint64_t total_bytes_;
  const uint64_t chunk_bytes_;
  std::vector<Payload> chunks_;  // empty: not read yet
};

}  // namespace stepback::client
