#include "server/engine/encoded_form.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "kernels/encode_with.h"
#include "server/base/check.h"
#include "server/base/crc32c.h"
#include "server/base/errors.h"
#include "server/base/status_macros.h"

namespace stepback {
namespace {

constexpr size_t kSpansMax = 32;  // of one piece that shows the array itself
constexpr uint64_t kCrcKnown = uint64_t{1} << 32;

bool IsIdentity(const kernels::CodecInfo& codec) { return codec.name == "f32"; }

}  // namespace

absl::StatusOr<std::shared_ptr<EncodedForm>> EncodedForm::Make(FormSource source,
                                                               std::shared_ptr<const Layout> layout,
                                                               const kernels::CodecInfo& codec,
                                                               FormMemory memory, uint64_t draw_key) {
  ASSIGN_OR_RETURN(WireLayout wire, WireLayout::Make(*layout, codec, Direction::kPull, {}, {}));
  return std::shared_ptr<EncodedForm>(
      new EncodedForm(std::move(source), std::move(layout), std::move(wire), std::move(memory), draw_key));
}

EncodedForm::EncodedForm(FormSource source, std::shared_ptr<const Layout> layout, WireLayout wire,
                         FormMemory memory, uint64_t draw_key)
    : memory_(std::move(memory)),
      source_(std::move(source)),
      layout_(std::move(layout)),
      wire_(std::move(wire)),
      draw_key_(draw_key) {
  CutPieces();
  crcs_ = std::make_unique<std::atomic<uint64_t>[]>((wire_.total_bytes() + kPieceBytes - 1) / kPieceBytes);
}

EncodedForm::~EncodedForm() {
  for (const Piece& piece : pieces_) {
    if (piece.memory != nullptr) memory_.allocator->Free(piece.memory, piece.bytes);
  }
}

// Fills pieces with runs, cutting a run where a piece is full: raw bytes anywhere, encoded ones between codec
// blocks.
void EncodedForm::CutPieces() {
  const kernels::CodecInfo& codec = wire_.codec();
  const uint64_t block_bytes = codec.encoded_bytes(codec.block_elements);
  SB_CHECK(block_bytes <= kPieceBytes);
  for (WireRun run : wire_.runs()) {
    while (run.bytes > 0) {
      if (pieces_.empty() ||
          pieces_.back().bytes + (run.raw ? 1 : std::min(block_bytes, run.bytes)) > kPieceBytes) {
        pieces_.push_back({.byte_offset = run.byte_offset});
      }
      Piece& piece = pieces_.back();
      WireRun part = run;
      const uint64_t room = kPieceBytes - piece.bytes;
      if (part.bytes > room) {
        const uint64_t blocks = run.raw ? 0 : room / block_bytes;
        part.count = blocks * codec.block_elements;
        part.bytes = run.raw ? room : blocks * block_bytes;
      }
      piece.runs.push_back(part);
      piece.bytes += part.bytes;
      // `first` of a raw run counts bytes here: it has no elements to the codec.
      run.first += run.raw ? part.bytes : part.count;
      run.count -= run.raw ? 0 : part.count;
      run.byte_offset += part.bytes;
      run.bytes -= part.bytes;
    }
  }
}

absl::Status EncodedForm::Read(uint64_t offset, uint64_t bytes, const std::shared_ptr<const void>& owner,
                               Payload* to) {
  auto piece = std::upper_bound(pieces_.begin(), pieces_.end(), offset,
                                [](uint64_t at, const Piece& p) { return at < p.byte_offset; });
  if (bytes > 0) --piece;
  while (bytes > 0) {
    MutexLock lock(&stripes_[(piece - pieces_.begin()) % kStripes]);
    RETURN_IF_ERROR(Prepare(&*piece));
    uint64_t skip = offset - piece->byte_offset;
    for (const kernels::ByteSpan& span : piece->spans) {
      const uint64_t hidden = std::min<uint64_t>(skip, span.size);
      const size_t take = std::min<uint64_t>(span.size - hidden, bytes);
      to->Append({span.data + hidden, take}, owner);
      skip -= hidden;
      offset += take;
      bytes -= take;
    }
    ++piece;
  }
  return absl::OkStatus();
}

uint32_t EncodedForm::ChunkCrc(uint64_t index, const Payload& chunk) {
  const uint64_t known = crcs_[index].load(std::memory_order_relaxed);
  if ((known & kCrcKnown) != 0) return static_cast<uint32_t>(known);
  const uint32_t crc = Crc32c(chunk.view());
  crcs_[index].store(crc | kCrcKnown, std::memory_order_relaxed);
  return crc;
}

absl::Status EncodedForm::Prepare(Piece* piece) {
  if (!piece->spans.empty() || UseArray(piece)) return absl::OkStatus();
  std::byte* const memory = memory_.allocator->Allocate(piece->bytes);
  if (memory == nullptr) return NoMemory(piece->bytes);
  if (const absl::Status encoded = Encode(piece, memory); !encoded.ok()) {
    memory_.allocator->Free(memory, piece->bytes);
    return encoded;
  }
  piece->memory = memory;
  piece->spans = {{memory, piece->bytes}};
  return absl::OkStatus();
}

// Tensors that fill their 64-byte cells follow each other without a gap, so that many are one span.
bool EncodedForm::UseArray(Piece* piece) const {
  std::vector<kernels::ByteSpan> spans;
  for (const WireRun& run : piece->runs) {
    const kernels::Buffer* const array = ArrayOf(run);
    const std::byte* const host = array == nullptr ? nullptr : const_cast<kernels::Buffer*>(array)->host();
    if (host == nullptr) return false;
    if (!run.raw && !IsIdentity(wire_.codec())) return false;
    const uint64_t begin = layout_->tensors()[run.tensor].arena_begin * sizeof(float) +
                           run.first * (run.raw ? 1 : sizeof(float));
    if (!spans.empty() && spans.back().data + spans.back().size == host + begin) {
      spans.back().size += run.bytes;
    } else {
      spans.push_back({host + begin, run.bytes});
    }
  }
  if (spans.size() > kSpansMax) return false;
  piece->spans = std::move(spans);
  return true;
}

absl::Status EncodedForm::Encode(Piece* piece, std::byte* to) const {
  for (const WireRun& run : piece->runs) {
    RETURN_IF_ERROR(EncodeRun(run, to));
    to += run.bytes;
  }
  return absl::OkStatus();
}

absl::Status EncodedForm::EncodeRun(const WireRun& run, std::byte* to) const {
  const uint64_t begin = layout_->tensors()[run.tensor].arena_begin;
  if (ArrayOf(run) == nullptr) return EncodeSum(run, to);
  const kernels::Buffer& array = *ArrayOf(run);
  if (run.raw) return Fetch(array, begin * sizeof(float) + run.first, to, run.bytes);
  if (IsIdentity(wire_.codec())) return Fetch(array, (begin + run.first) * sizeof(float), to, run.bytes);
  if (const float* const host = array.host_floats(); host != nullptr) {
    EncodeFloats(host + begin + run.first, run, to);
    return absl::OkStatus();
  }
  const size_t bytes = run.count * sizeof(float);
  std::byte* const floats = memory_.allocator->Allocate(bytes);
  if (floats == nullptr) return NoMemory(bytes);
  const absl::Status fetched = Fetch(array, (begin + run.first) * sizeof(float), floats, bytes);
  if (fetched.ok()) EncodeFloats(reinterpret_cast<const float*>(floats), run, to);
  memory_.allocator->Free(floats, bytes);
  return fetched;
}

void EncodedForm::EncodeFloats(const float* floats, const WireRun& run, std::byte* to) const {
  kernels::EncodeWith(wire_.codec(), floats, run.count, {draw_key_, run.tensor, run.first}, to);
}

absl::Status EncodedForm::NoMemory(size_t bytes) const {
  return WithRetryAfter(
      Error(absl::StatusCode::kResourceExhausted, "MEMORY_FULL",
            fmt::format("model '{}': no memory for {} bytes of weights in codec {}", memory_.model, bytes,
                        wire_.codec().name)),
      1);
}

const kernels::Buffer* EncodedForm::ArrayOf(const WireRun& run) const {
  const Role role = layout_->tensors()[run.tensor].role;
  const bool numbers = role == Role::kTrained || (role == Role::kAveraged && source_.averaged_are_numbers);
  if (!numbers) return source_.bytes.get();
  return source_.numbers.size() == 1 ? source_.numbers[0].array.get() : nullptr;
}

absl::Status EncodedForm::EncodeSum(const WireRun& run, std::byte* to) const {
  const size_t bytes = run.count * sizeof(float);
  std::byte* const memory = memory_.allocator->Allocate(bytes);
  if (memory == nullptr) return NoMemory(bytes);
  auto* const floats = reinterpret_cast<float*>(memory);
  const absl::Status summed = Sum(layout_->tensors()[run.tensor].arena_begin + run.first, run.count, floats);
  if (summed.ok()) EncodeFloats(floats, run, to);
  memory_.allocator->Free(memory, bytes);
  return summed;
}

absl::Status EncodedForm::Sum(uint64_t begin, uint64_t count, float* out) const {
  float fetched[kernels::kBlockElements];
  for (uint64_t done = 0; done < count; done += kernels::kBlockElements) {
    const size_t size = std::min<uint64_t>(kernels::kBlockElements, count - done);
    double sums[kernels::kBlockElements] = {};
    for (const ShownTerm& term : source_.numbers) {
      const float* values = term.array->host_floats();
      if (values == nullptr) {
        RETURN_IF_ERROR(Fetch(*term.array, (begin + done) * sizeof(float),
                              reinterpret_cast<std::byte*>(fetched), size * sizeof(float)));
      }
      const float* const from = values == nullptr ? fetched : values + begin + done;
      for (size_t i = 0; i < size; ++i) sums[i] += term.weight * double{from[i]};
    }
    for (size_t i = 0; i < size; ++i) out[done + i] = static_cast<float>(sums[i]);
  }
  return absl::OkStatus();
}

absl::Status EncodedForm::Fetch(const kernels::Buffer& array, uint64_t byte_offset, std::byte* to,
                                size_t bytes) const {
  if (memory_.backend->Download(array, byte_offset, to, bytes) == kernels::Status::kOk)
    return absl::OkStatus();
  return Error(absl::StatusCode::kInternal, "DEVICE_ERROR",
               fmt::format("reading {} bytes of weights from {} failed", bytes, memory_.backend->name()));
}

}  // namespace stepback
