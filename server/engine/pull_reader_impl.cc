#include "server/engine/pull_reader_impl.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "server/base/crc32c.h"
#include "server/base/errors.h"
#include "server/base/status_macros.h"
#include "server/engine/chunk_check.h"

namespace stepback {
namespace {

// Keeps the form's bytes and the version behind them.
struct SliceOwner {
  std::shared_ptr<const LiveVersion> live;
  std::shared_ptr<const EncodedForm> form;
};

// Where a run begins in the full form, given the full form's run of the same tensor.
uint64_t FormOffset(const WireRun& whole, const WireRun& run, const kernels::CodecInfo& codec) {
  return whole.byte_offset + (run.raw ? 0 : codec.encoded_bytes(run.first));
}

}  // namespace

absl::Status CheckPullChunk(uint64_t chunk_bytes) {
  if (chunk_bytes >= kPullChunkBytesMin && chunk_bytes <= kChunkBytesMax) return absl::OkStatus();
  return Error(
      absl::StatusCode::kInvalidArgument, "BAD_CHUNK",
      fmt::format("chunk_bytes is {}, expected {}..{}", chunk_bytes, kPullChunkBytesMin, kChunkBytesMax));
}

absl::StatusOr<std::unique_ptr<PullReader>> PullReaderImpl::Make(std::shared_ptr<Pin> pin,
                                                                 const PullSpec& spec) {
  if (pin->revoked()) return pin->Gone();
  RETURN_IF_ERROR(CheckPullChunk(spec.chunk_bytes));
  ASSIGN_OR_RETURN(std::shared_ptr<EncodedForm> form, pin->live()->Form(spec.view, spec.codec));
  const uint64_t chunk_bytes = spec.chunk_bytes / kChunkAlignBytes * kChunkAlignBytes;
  std::unique_ptr<PullReaderImpl> reader(new PullReaderImpl(std::move(pin), std::move(form), chunk_bytes));
  if (spec.fragment.has_value()) {
    const ModelVersion& version = reader->pin().version();
    const FragmentTable& fragments = version.layout->fragments();
    RETURN_IF_ERROR(fragments.Check(version.spec->name, spec.fragment));
    RETURN_IF_ERROR(fragments.CheckRanges(version.spec->name, *spec.fragment, spec.ranges));
    if (spec.ranges.empty()) {
      RETURN_IF_ERROR(reader->AddSegments(fragments[*spec.fragment].ranges));
      return reader;
    }
  }
  RETURN_IF_ERROR(reader->AddSegments(spec.ranges));
  return reader;
}

PullReaderImpl::PullReaderImpl(std::shared_ptr<Pin> pin, std::shared_ptr<EncodedForm> form,
                               uint64_t chunk_bytes)
    : pin_(std::move(pin)),
      form_(std::move(form)),
      owner_(std::make_shared<const SliceOwner>(SliceOwner{pin_->live(), form_})),
      chunk_bytes_(chunk_bytes) {}

absl::StatusOr<PullReader::ChunkOut> PullReaderImpl::Chunk(uint64_t index) {
  if (pin_->revoked()) return pin_->Gone();
  if (index >= chunk_count()) {
    return Error(absl::StatusCode::kOutOfRange, "BAD_CHUNK",
                 fmt::format("chunk {} of {}", index, chunk_count()));
  }
  ChunkOut chunk{.offset = index * chunk_bytes_};
  const uint64_t bytes = std::min(chunk_bytes_, total_bytes_ - chunk.offset);
  RETURN_IF_ERROR(Gather(chunk.offset, bytes, &chunk.data));
  const bool standard = chunk_bytes_ == kPieceBytes && total_bytes_ == form_->wire().total_bytes();
  chunk.crc32c = standard ? form_->ChunkCrc(index, chunk.data) : Crc32c(chunk.data.view());
  return chunk;
}

absl::Status PullReaderImpl::AddSegments(const std::vector<ElementRange>& ranges) {
  const WireLayout& whole = form_->wire();
  if (ranges.empty()) {
    total_bytes_ = whole.total_bytes();
    segments_ = {{.at = 0, .from = 0, .bytes = total_bytes_}};
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const WireLayout wanted,
                   WireLayout::Make(form_->layout(), whole.codec(), Direction::kPull, {}, ranges));
  auto full = whole.runs().begin();
  for (const WireRun& run : wanted.runs()) {
    while (full->tensor != run.tensor) ++full;  // every tensor with elements has one run in the whole form
    const uint64_t from = FormOffset(*full, run, whole.codec());
    if (!segments_.empty() && segments_.back().from + segments_.back().bytes == from) {
      segments_.back().bytes += run.bytes;
    } else {
      segments_.push_back({.at = run.byte_offset, .from = from, .bytes = run.bytes});
    }
  }
  total_bytes_ = wanted.total_bytes();
  return absl::OkStatus();
}

absl::Status PullReaderImpl::Gather(uint64_t offset, uint64_t bytes, Payload* to) const {
  auto segment = std::upper_bound(segments_.begin(), segments_.end(), offset,
                                  [](uint64_t at, const Segment& s) { return at < s.at; });
  for (--segment; bytes > 0; ++segment) {
    const uint64_t skip = offset - segment->at;
    const uint64_t take = std::min(bytes, segment->bytes - skip);
    RETURN_IF_ERROR(form_->Read(segment->from + skip, take, owner_, to));
    offset += take;
    bytes -= take;
  }
  return absl::OkStatus();
}

}  // namespace stepback
