#include "kernels/cpu/fold.h"

#include <cstring>

#include "kernels/cpu/fp_mode.h"
#include "kernels/cpu/task_list.h"

namespace stepback::kernels::cpu {
namespace {

constexpr size_t kRawElementBytes = sizeof(float);
constexpr size_t kGatherBytes = 4096;  // at least one block of any codec

// Walks the slices of a view from an offset; never joins more than one codec block.
class SpanCursor {
 public:
  SpanCursor(const EncodedView& view, uint64_t offset)
      : view_(view), offset_(offset), span_(view.SpanAt(offset)), skip_(offset - view.start(span_)) {}

  // Whole blocks of `block_bytes` that lie in one piece here, at most `blocks_max`; 0 when a cut goes through
  // a block.
  uint64_t Available(size_t block_bytes, uint64_t blocks_max) const {
    return std::min<uint64_t>((view_.spans()[span_].size - skip_) / block_bytes, blocks_max);
  }
  const std::byte* data() const { return view_.spans()[span_].data + skip_; }
  const std::byte* Gather(size_t bytes, std::byte* scratch) const {
    return view_.Read(offset_, bytes, scratch);
  }

  void Advance(uint64_t bytes) {
    offset_ += bytes;
    skip_ += bytes;
    const auto& spans = view_.spans();
    while (span_ < spans.size() && skip_ >= spans[span_].size) skip_ -= spans[span_++].size;
  }

 private:
  const EncodedView& view_;
  uint64_t offset_;
  size_t span_;
  uint64_t skip_;
};

class Folder {
 public:
  Folder(const Loops& loops, Buffer* acc, Accumulate type, const EncodedView& bytes, double weight)
      : loops_(loops), acc_(acc->host()), type_(type), bytes_(bytes), weight_(weight) {}

  void Run(const Fold& fold, const Piece& piece) const { fold.raw ? Copy(fold, piece) : Decode(fold, piece); }

 private:
  // Elements go in as long stretches as the slices allow; a block that a cut goes through is gathered first.
  void Decode(const Fold& fold, const Piece& piece) const {
    const CodecLoops& codec = loops_.codecs[fold.codec];
    SpanCursor cursor(bytes_, fold.byte_offset + piece.begin / codec.block_elements * codec.block_bytes);
    alignas(64) std::byte scratch[kGatherBytes];
    for (uint64_t done = 0; done < piece.count;) {
      const uint64_t whole = (piece.count - done) / codec.block_elements;
      const uint64_t blocks = cursor.Available(codec.block_bytes, whole);
      const uint64_t count = blocks > 0 ? blocks * codec.block_elements
                                        : std::min<uint64_t>(codec.block_elements, piece.count - done);
      const uint64_t size = Codecs()[fold.codec].encoded_bytes(count);
      const std::byte* in = blocks > 0 ? cursor.data() : cursor.Gather(size, scratch);
      FoldRun(codec, in, count, fold.first, fold.arena_begin + piece.begin + done);
      cursor.Advance(size);
      done += count;
    }
  }

  void FoldRun(const CodecLoops& codec, const std::byte* in, size_t count, bool first, uint64_t at) const {
    if (type_ == Accumulate::kF64) {
      codec.fold_f64({in, count, 0, count}, weight_, first, reinterpret_cast<double*>(acc_) + at);
    } else {
      const float weight = static_cast<float>(weight_);
      codec.fold_f32({in, count, 0, count}, weight, first, reinterpret_cast<float*>(acc_) + at);
    }
  }

  // Raw bytes keep four to an element; in an fp64 accumulator the four lie at the start of the element.
  void Copy(const Fold& fold, const Piece& piece) const {
    const size_t stride = type_ == Accumulate::kF32 ? sizeof(float) : sizeof(double);
    const uint64_t end = std::min<uint64_t>(fold.count, (piece.begin + piece.count) * kRawElementBytes);
    for (uint64_t done = piece.begin * kRawElementBytes; done < end;) {
      std::byte* const out = acc_ + (fold.arena_begin + done / kRawElementBytes) * stride;
      const size_t take =
          std::min<uint64_t>(end - done, stride == kRawElementBytes ? kGatherBytes : kRawElementBytes);
      const std::byte* in = bytes_.Read(fold.byte_offset + done, take, out);
      if (in != out) std::memcpy(out, in, take);
      done += take;
    }
  }

  const Loops& loops_;
  std::byte* const acc_;
  const Accumulate type_;
  const EncodedView& bytes_;
  const double weight_;
};

uint64_t Elements(const Fold& fold) {
  return fold.raw ? (fold.count + kRawElementBytes - 1) / kRawElementBytes : fold.count;
}

}  // namespace

void FoldContribution(const Loops& loops, Buffer* acc, Accumulate type, const EncodedView& bytes,
                      std::span<const Fold> folds, double weight, Executor* executor) {
  const size_t bytes_per_element =
      sizeof(float) + 2 * (type == Accumulate::kF32 ? sizeof(float) : sizeof(double));
  TaskList tasks(kTaskBytes / bytes_per_element, kCodecBlockMax);
  for (size_t i = 0; i < folds.size(); ++i) tasks.Add(i, Elements(folds[i]));
  const Folder folder(loops, acc, type, bytes, weight);
  executor->Run(tasks.size(), [&](size_t task) {
    const FpMode mode;
    for (const Piece& piece : tasks[task]) folder.Run(folds[piece.run], piece);
  });
}

}  // namespace stepback::kernels::cpu
