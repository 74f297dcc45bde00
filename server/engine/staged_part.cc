#include "server/engine/staged_part.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "server/base/crc32c.h"
#include "server/base/errors.h"
#include "server/base/status_macros.h"

namespace stepback {
namespace {

constexpr size_t kScanBytes = 64 * 1024;    // checksum, then finiteness, while they are in the L2 cache
constexpr size_t kSummedBytesMin = 4096;    // per chunk, on average
constexpr size_t kBlockBytes = 256 * 1024;  // of copied small chunks

}  // namespace

StagedPart::StagedPart(std::shared_ptr<const WireLayout> layout, kernels::HostAllocator* allocator,
                       telemetry::Metrics* metrics)
    : layout_(std::move(layout)), allocator_(allocator), metrics_(metrics), walker_(layout_.get()) {}

StagedPart::~StagedPart() { Clear(); }

absl::Status StagedPart::TakeOver(uint64_t owner, uint64_t resume_offset) {
  MutexLock lock(&mu_);
  if (resume_offset != 0 && resume_offset != received()) {
    return Error(absl::StatusCode::kInvalidArgument, "BAD_OFFSET",
                 fmt::format("upload resumes at byte {}, but {} bytes are held", resume_offset, received()),
                 {{"bytes_received", std::to_string(received())}});
  }
  if (resume_offset == 0) Drop();
  owner_ = owner;
  return absl::OkStatus();
}

void StagedPart::Freeze() {
  MutexLock lock(&mu_);
  owner_ = 0;
}

void StagedPart::Clear() {
  MutexLock lock(&mu_);
  owner_ = 0;
  Drop();
}

void StagedPart::Drop() {
  metrics_->AddInflightBytes(-static_cast<int64_t>(received()));
  received_.store(0, std::memory_order_release);
  walker_ = WireWalker(layout_.get());
  finite_ = true;
  spans_.clear();
  sums_.clear();
  owners_.clear();
  tail_ = nullptr;
  tail_bytes_ = 0;
}

absl::Status StagedPart::Add(uint64_t owner, uint64_t offset, uint32_t crc32c, Payload data) {
  MutexLock lock(&mu_);
  if (owner != owner_) return absl::CancelledError("the upload has been taken over");
  RETURN_IF_ERROR(CheckChunkPlace(offset, data.size(), received(), layout_->total_bytes()));
  const uint64_t size = data.size();
  Scan scan = ScanChunk(data);
  RETURN_IF_ERROR(CheckChunkCrc(offset, crc32c, scan.crc));
  if (size < kPayloadCopyBytes) {
    RETURN_IF_ERROR(Copy(data));
  } else {
    Keep(std::move(data));
  }
  walker_ = std::move(scan.walker);
  finite_ = scan.finite;
  sums_.push_back({static_cast<uint32_t>(size), crc32c});
  received_.store(offset + size, std::memory_order_release);
  metrics_->AddInflightBytes(static_cast<int64_t>(size));
  return absl::OkStatus();
}

bool StagedPart::finite() const {
  MutexLock lock(&mu_);
  return finite_;
}

std::vector<ChunkSum> StagedPart::sums() const {
  MutexLock lock(&mu_);
  const bool small = sums_.size() > 1 && received() / sums_.size() < kSummedBytesMin;
  return small ? std::vector<ChunkSum>() : sums_;
}

std::vector<kernels::ByteSpan> StagedPart::spans() const {
  MutexLock lock(&mu_);
  return spans_;
}

StagedPart::Scan StagedPart::ScanChunk(const Payload& data) const {
  Scan scan{walker_, 0, finite_};
  const auto visit = [&](const WireRun& run, uint64_t, uint64_t count, const std::byte* bytes) {
    if (!run.raw && scan.finite) scan.finite = layout_->codec().all_finite(bytes, count);
  };
  for (kernels::ByteSpan span : data.view().spans()) {
    while (span.size > 0) {
      const kernels::ByteSpan piece{span.data, std::min(span.size, kScanBytes)};
      scan.crc = ExtendCrc32c(scan.crc, piece.data, piece.size);
      scan.walker.Feed(piece, visit);
      span = {span.data + piece.size, span.size - piece.size};
    }
  }
  return scan;
}

void StagedPart::Keep(Payload data) {
  auto owner = std::make_shared<const Payload>(std::move(data));
  for (const kernels::ByteSpan& span : owner->view().spans()) AppendSpan(span);
  owners_.push_back(std::move(owner));
}

absl::Status StagedPart::Copy(const Payload& data) {
  if (tail_bytes_ < data.size()) {
    // Never more than what is still to come, so that the copies fit into the push's reservation; the rest of
    // the block before is given up, at most one chunk of it.
    const size_t bytes =
        std::min<uint64_t>(std::max<uint64_t>(kBlockBytes, data.size()), layout_->total_bytes() - received());
    std::byte* const block = allocator_->Allocate(bytes);
    if (block == nullptr) {
      return Error(absl::StatusCode::kResourceExhausted, "MEMORY_FULL",
                   fmt::format("no memory for {} of its {} bytes", bytes, layout_->total_bytes()));
    }
    owners_.push_back(std::shared_ptr<const void>(
        block, [allocator = allocator_, bytes, block](const void*) { allocator->Free(block, bytes); }));
    tail_ = block;
    tail_bytes_ = bytes;
  }
  for (const kernels::ByteSpan& span : data.view().spans()) {
    std::memcpy(tail_, span.data, span.size);
    AppendSpan({tail_, span.size});
    tail_ += span.size;
    tail_bytes_ -= span.size;
  }
  return absl::OkStatus();
}

void StagedPart::AppendSpan(kernels::ByteSpan span) {
  if (!spans_.empty() && spans_.back().data + spans_.back().size == span.data) {
    spans_.back().size += span.size;
  } else {
    spans_.push_back(span);
  }
}

}  // namespace stepback
