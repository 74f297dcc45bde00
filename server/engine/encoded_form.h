// One view of one version as the bytes that travel: the concatenation of all tensors in a codec's form. Made
// piece by piece when a reader first needs a piece, and kept with the version, so that it is encoded once
// whoever asks.
//
// The f32 form of host memory is not made at all: its pieces are spans of the array itself, except where
// tensors are so small that a chunk would be a crowd of spans.
//
// Threads: any; a reader that needs a piece which another is making waits for it (one piece is at most 1
// MiB).
//
//   ASSIGN_OR_RETURN(Payload chunk, form->Read(offset, bytes, owner));
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "server/base/mutex.h"
#include "server/base/payload.h"
#include "server/core/averages.h"
#include "server/core/model_version.h"
#include "server/core/wire_layout.h"

namespace stepback {

inline constexpr uint64_t kPieceBytes = 1 << 20;

// Where forms get their memory, and what keeps it there.
struct FormMemory {
  kernels::Backend* backend = nullptr;
  kernels::HostAllocator* allocator = nullptr;
  std::shared_ptr<const void> keep_alive;
  std::string model = "";  // for errors
};

// The arrays that a form shows. An average shows phi's bytes where tensors are not numbers, and an
// extrapolation combines several arrays: sum of weight x element in fp64, in order, rounded once.
struct FormSource {
  FormSource(Array array) : numbers{{array}}, bytes(std::move(array)) {}  // NOLINT(runtime/explicit)
  FormSource(std::vector<ShownTerm> numbers, Array bytes)
      : numbers(std::move(numbers)), bytes(std::move(bytes)) {}
  std::vector<ShownTerm> numbers;     // of trained and averaged tensors; several, or one of weight 1
  Array bytes;                        // of carried and frozen ones
  bool averaged_are_numbers = true;   // false: averaged tensors show `bytes` too
};

class EncodedForm {
 public:
  static absl::StatusOr<std::shared_ptr<EncodedForm>> Make(FormSource source,
                                                           std::shared_ptr<const Layout> layout,
                                                           const kernels::CodecInfo& codec,
                                                           FormMemory memory, uint64_t draw_key = 0);

  ~EncodedForm();

  const WireLayout& wire() const { return wire_; }
  const Layout& layout() const { return *layout_; }
  // Appends bytes [offset, offset + bytes) to `to`; `owner` keeps this form alive.
  // RESOURCE_EXHAUSTED(MEMORY_FULL); INTERNAL(DEVICE_ERROR).
  absl::Status Read(uint64_t offset, uint64_t bytes, const std::shared_ptr<const void>& owner, Payload* to);
  // CRC32C of standard chunk `index` (kPieceBytes each), whose bytes are `chunk`; computed once.
  uint32_t ChunkCrc(uint64_t index, const Payload& chunk);

 private:
  // Consecutive bytes of the form, cut at codec blocks, about kPieceBytes of them.
  struct Piece {
    uint64_t byte_offset = 0;
    uint64_t bytes = 0;
    std::vector<WireRun> runs;
    std::vector<kernels::ByteSpan> spans;  // guarded by the piece's stripe; empty: not made yet
    std::byte* memory = nullptr;           // when the spans are ours
  };
  static constexpr size_t kStripes = 16;

  EncodedForm(FormSource source, std::shared_ptr<const Layout> layout, WireLayout wire, FormMemory memory,
              uint64_t draw_key);
  void CutPieces();
  absl::Status Prepare(Piece* piece);
  bool UseArray(Piece* piece) const;
  absl::Status Encode(Piece* piece, std::byte* to) const;
  absl::Status EncodeRun(const WireRun& run, std::byte* to) const;
  void EncodeFloats(const float* floats, const WireRun& run, std::byte* to) const;
  absl::Status NoMemory(size_t bytes) const;
  absl::Status Fetch(const kernels::Buffer& array, uint64_t byte_offset, std::byte* to, size_t bytes) const;
  absl::Status EncodeSum(const WireRun& run, std::byte* to) const;
  absl::Status Sum(uint64_t begin, uint64_t count, float* out) const;
  // The one array that shows a run; null: it is a sum.
  const kernels::Buffer* ArrayOf(const WireRun& run) const;

  const FormMemory memory_;
  const FormSource source_;
  const std::shared_ptr<const Layout> layout_;
  const WireLayout wire_;
  const uint64_t draw_key_;  // of codecs that draw random numbers
  std::vector<Piece> pieces_;
  std::array<Mutex, kStripes> stripes_;
  std::unique_ptr<std::atomic<uint64_t>[]> crcs_;  // bit 32: known
};

}  // namespace stepback
