// The verified bytes of one part of a push, from its first chunk until the core has folded them.
//
// The slices that the transport delivered are kept as they are; chunks below 64 KiB are copied out of theirs
// into blocks, because a slice of a few bytes can pin a whole read buffer. Checksum and finiteness are
// checked in one pass while a slice is in the cache. A chunk that fails changes nothing.
//
// Threads: any; one upload at a time feeds it, named by `owner`. When another takes over, the first one's
// chunks are refused, also one that is being verified at that moment.
//
//   StagedPart part(layout, &pool, metrics);
//   RETURN_IF_ERROR(part.TakeOver(/*owner=*/7, /*resume_offset=*/0));
//   RETURN_IF_ERROR(part.Add(7, 0, crc, std::move(chunk)));
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "server/base/mutex.h"
#include "server/base/payload.h"
#include "server/core/wire_layout.h"
#include "server/engine/chunk_check.h"
#include "server/engine/wire_walker.h"
#include "server/store/log_entry.h"
#include "server/telemetry/metrics.h"

namespace stepback {

class StagedPart {
 public:
  // `allocator` and `metrics` outlive the part.
  StagedPart(std::shared_ptr<const WireLayout> layout, kernels::HostAllocator* allocator,
             telemetry::Metrics* metrics);
  ~StagedPart();

  // The part belongs to `owner` from now on, which goes on after the bytes held; `resume_offset` 0 drops
  // them. BAD_OFFSET when it is neither; then the owner stays.
  absl::Status TakeOver(uint64_t owner, uint64_t resume_offset);
  // Nobody feeds the part; its bytes stay.
  void Freeze();
  // Nobody feeds the part, and its bytes are gone.
  void Clear();

  // INVALID_ARGUMENT (BAD_CHUNK, BAD_OFFSET, TOO_MANY_BYTES, BAD_CRC), RESOURCE_EXHAUSTED (MEMORY_FULL), or
  // CANCELLED when `owner` is not the owner (any more).
  absl::Status Add(uint64_t owner, uint64_t offset, uint32_t crc32c, Payload data);

  uint64_t received() const { return received_.load(std::memory_order_acquire); }
  const WireLayout& layout() const { return *layout_; }
  // Of a part that nobody feeds any more.
  bool finite() const;
  // The client's checksums of consecutive pieces of them. None when the pieces are too small to be worth a frame
  // each in a log.
  std::vector<ChunkSum> sums() const;
  // The bytes in order, kept alive by `owner` (which holds this part).
  std::vector<kernels::ByteSpan> spans() const;

 private:
  struct Scan {
    WireWalker walker;
    uint32_t crc = 0;
    bool finite = true;
  };

  void Drop() REQUIRES(mu_);
  Scan ScanChunk(const Payload& data) const REQUIRES(mu_);
  void Keep(Payload data) REQUIRES(mu_);
  absl::Status Copy(const Payload& data) REQUIRES(mu_);
  void AppendSpan(kernels::ByteSpan span) REQUIRES(mu_);

  const std::shared_ptr<const WireLayout> layout_;
  kernels::HostAllocator* const allocator_;
  telemetry::Metrics* const metrics_;
  std::atomic<uint64_t> received_{0};

  mutable Mutex mu_;
  uint64_t owner_ GUARDED_BY(mu_) = 0;
  WireWalker walker_ GUARDED_BY(mu_);
  bool finite_ GUARDED_BY(mu_) = true;
  std::vector<kernels::ByteSpan> spans_ GUARDED_BY(mu_);
  std::vector<ChunkSum> sums_ GUARDED_BY(mu_);
  std::vector<std::shared_ptr<const void>> owners_ GUARDED_BY(mu_);
  std::byte* tail_ GUARDED_BY(mu_) = nullptr;  // free room of the last block
  size_t tail_bytes_ GUARDED_BY(mu_) = 0;
};

}  // namespace stepback
