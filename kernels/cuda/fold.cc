#include "kernels/cuda/fold.h"

#include <algorithm>
#include <cstring>

#include "kernels/cuda/passes.h"
#include "kernels/cuda/status.h"
#include "kernels/plan.h"

namespace stepback::kernels::cuda {
namespace {

constexpr size_t kRunAlign = 16;
constexpr size_t kPiecesMax = 8192;
constexpr size_t kPieceTableBytes = kPiecesMax * sizeof(FoldPiece);
constexpr size_t kDataBytes = size_t{8} << 20;

// Fills one pair of the ring with pieces and launches when it is full.
class FoldQueue {
 public:
  FoldQueue(StagingRing& ring, cudaStream_t stream, Buffer* acc, Accumulate type, double weight)
      : ring_(ring),
        stream_(stream),
        acc_(DeviceAddress(acc)),
        wide_(type == Accumulate::kF64),
        weight_(weight) {}

  cudaError_t Add(const EncodedView& bytes, FoldPiece piece, uint64_t byte_offset, size_t size) {
    if (slot_.host == nullptr) SB_CUDA_RETURN_IF_ERROR(ring_.Next(&slot_));
    piece.offset = used_;
    std::byte* const to = slot_.host + kPieceTableBytes + used_;
    const std::byte* const from = bytes.Read(byte_offset, size, to);
    if (from != to) std::memcpy(to, from, size);
    std::memcpy(slot_.host + count_ * sizeof piece, &piece, sizeof piece);
    used_ += (size + kRunAlign - 1) / kRunAlign * kRunAlign;
    ++count_;
    const bool full = count_ == kPiecesMax || used_ + kBlockElements * sizeof(double) > kDataBytes;
    return full ? Flush() : cudaSuccess;
  }

  cudaError_t Flush() {
    if (count_ == 0) return cudaSuccess;
    SB_CUDA_RETURN_IF_ERROR(ring_.Send(kPieceTableBytes + used_, stream_));
    const auto* pieces = reinterpret_cast<const FoldPiece*>(slot_.device);
    SB_CUDA_RETURN_IF_ERROR(
        LaunchFold(pieces, count_, slot_.device + kPieceTableBytes, acc_, wide_, weight_, stream_));
    SB_CUDA_RETURN_IF_ERROR(ring_.Done(stream_));
    slot_ = {};
    count_ = used_ = 0;
    return cudaSuccess;
  }

 private:
  StagingRing& ring_;
  const cudaStream_t stream_;
  std::byte* const acc_;
  const bool wide_;
  const double weight_;
  StagingRing::Slot slot_;
  size_t count_ = 0;
  size_t used_ = 0;
};

// Pieces of at most one cache block; raw ones of as many bytes as its floats have.
cudaError_t AddFold(FoldQueue& queue, const EncodedView& bytes, const Fold& fold) {
  const uint64_t step = fold.raw ? kBlockElements * sizeof(float) : kBlockElements;
  for (uint64_t begin = 0; begin < fold.count; begin += step) {
    const uint64_t count = std::min(step, fold.count - begin);
    const CodecInfo& codec = Codecs()[fold.codec];
    const FoldPiece piece = {.offset = 0,
                             .arena_begin = fold.arena_begin + (fold.raw ? begin / sizeof(float) : begin),
                             .begin = begin,
                             .total = fold.count,
                             .count = static_cast<uint32_t>(count),
                             .codec = static_cast<int16_t>(fold.codec),
                             .first = fold.first,
                             .raw = fold.raw};
    const EncodedPart part = PartAround(codec, begin, count, fold.count);
    const uint64_t offset = fold.byte_offset + (fold.raw ? begin : part.offset);
    SB_CUDA_RETURN_IF_ERROR(queue.Add(bytes, piece, offset, fold.raw ? count : part.bytes));
  }
  return cudaSuccess;
}

}  // namespace

cudaError_t FoldContribution(StagingRing& ring, cudaStream_t stream, Buffer* acc, Accumulate type,
                             const EncodedView& bytes, std::span<const Fold> folds, double weight) {
  SB_CUDA_RETURN_IF_ERROR(ring.Reserve(kPieceTableBytes + kDataBytes));
  FoldQueue queue(ring, stream, acc, type, weight);
  for (const Fold& fold : folds) SB_CUDA_RETURN_IF_ERROR(AddFold(queue, bytes, fold));
  SB_CUDA_RETURN_IF_ERROR(queue.Flush());
  return cudaStreamSynchronize(stream);
}

}  // namespace stepback::kernels::cuda
