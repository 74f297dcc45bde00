#include "server/engine/difference_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "server/base/crc32c.h"
#include "server/base/errors.h"
#include "server/base/status_macros.h"
#include "server/engine/chunk_check.h"
#include "server/engine/pull_reader_impl.h"

namespace stepback {
namespace {

absl::Status CheckDifference(const PullSpec& spec) {
  const auto codecs = static_cast<int>(kernels::Codecs().size());
  if (spec.difference->codec < kLosslessBf16 || spec.difference->codec >= codecs) {
    return Error(
        absl::StatusCode::kInvalidArgument, "CODEC_UNKNOWN",
        fmt::format("a difference in codec {} is unknown, there are {}", spec.difference->codec, codecs));
  }
  if (spec.ranges.empty()) return absl::OkStatus();
  return Error(absl::StatusCode::kInvalidArgument, "LAYOUT_MISMATCH",
               fmt::format("a difference of {} ranges: differences are of all elements", spec.ranges.size()));
}

}  // namespace

absl::StatusOr<std::unique_ptr<PullReader>> DifferenceReader::Make(Published* published,
                                                                   std::shared_ptr<Pin> pin,
                                                                   const PullSpec& spec) {
  if (pin->revoked()) return pin->Gone();
  RETURN_IF_ERROR(CheckPullChunk(spec.chunk_bytes));
  RETURN_IF_ERROR(CheckDifference(spec));
  const uint64_t chunk_bytes = spec.chunk_bytes / kChunkAlignBytes * kChunkAlignBytes;
  for (;;) {
    ASSIGN_OR_RETURN(std::optional<DifferenceChain::Answer> answer,
                     published->differences().Read(pin->live(), spec.view, *spec.difference));
    if (answer) {
      return std::unique_ptr<PullReader>(
          new DifferenceReader(std::move(pin), *std::move(answer), chunk_bytes));
    }
    pin = published->PinNewest();  // another reader has taken the chain to a newer version since
  }
}

DifferenceReader::DifferenceReader(std::shared_ptr<Pin> pin, DifferenceChain::Answer answer,
                                   uint64_t chunk_bytes)
    : pin_(std::move(pin)), answer_(std::move(answer)), chunk_bytes_(chunk_bytes) {
  for (const SharedBytes& part : answer_.parts) total_bytes_ += part.size;
}

absl::StatusOr<PullReader::ChunkOut> DifferenceReader::Chunk(uint64_t index) {
  if (pin_->revoked()) return pin_->Gone();
  if (index >= chunk_count()) {
    return Error(absl::StatusCode::kOutOfRange, "BAD_CHUNK",
                 fmt::format("chunk {} of {}", index, chunk_count()));
  }
  ChunkOut chunk{.offset = index * chunk_bytes_};
  uint64_t skip = chunk.offset, left = std::min(chunk_bytes_, total_bytes_ - chunk.offset);
  for (const SharedBytes& part : answer_.parts) {
    const uint64_t hidden = std::min(skip, part.size), take = std::min(part.size - hidden, left);
    chunk.data.Append({part.data.get() + hidden, take}, part.data);
    skip -= hidden;
    left -= take;
  }
  chunk.crc32c = Crc32c(chunk.data.view());
  return chunk;
}

}  // namespace stepback
