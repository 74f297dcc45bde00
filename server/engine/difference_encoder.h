// Makes the differences between versions as readers see them. What every reader of a chain has is kept as the
// bytes of its full form ("whole"): bf16 for lossless differences, f32 for those in a codec. From it and a
// newer version come the difference and the whole that a reader has once it has added that difference:
//
//   lossless:   whole' = bf16(x),            difference = the values in which whole' differs from whole
//   a codec Q:  whole' = whole + dec(d),     difference d = Q(x - whole)
//
// so with a codec x - whole is the residual: what the last difference lost is in the next one, and the
// readers are never further from x than one rounding of Q (algorithms.md 10.5, invariant 33). In tensor
// order; CARRIED tensors are sent whole with every difference, FROZEN ones never.
//
// Threads: any; no state. O(elements).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "absl/status/statusor.h"
#include "server/engine/encoded_form.h"
#include "server/engine/engine.h"

namespace stepback {

// Bytes from the pool that live as long as anyone needs them.
struct SharedBytes {
  std::shared_ptr<const std::byte> data;
  uint64_t size = 0;
};

class DifferenceEncoder {
 public:
  // `codec`: of the differences, or kLosslessBf16. `draw_key` for codecs that draw.
  DifferenceEncoder(int codec, FormMemory memory, uint64_t draw_key = 0)
      : codec_(codec), memory_(std::move(memory)), draw_key_(draw_key) {}

  // The form in which a chain of `codec` sends weights in full.
  static const kernels::CodecInfo& FullCodec(int codec);

  struct Step {
    SharedBytes whole;
    std::optional<SharedBytes> difference;  // none: it would not be smaller, or not finite
  };
  // `weights`: the version in f32, kept alive by `owner`. RESOURCE_EXHAUSTED(MEMORY_FULL), DEVICE_ERROR.
  absl::StatusOr<SharedBytes> First(EncodedForm* weights, const std::shared_ptr<const void>& owner) const;
  absl::StatusOr<Step> Next(EncodedForm* weights, const std::shared_ptr<const void>& owner,
                            const SharedBytes& before) const;

 private:
  class Walk;  // over the runs of a full form, with the weights beside it

  absl::StatusOr<Step> NextLossless(Walk walk, const SharedBytes& before) const;
  absl::StatusOr<Step> NextQuantised(Walk walk, const SharedBytes& before) const;
  absl::StatusOr<SharedBytes> FillWhole(Walk walk) const;
  absl::StatusOr<std::shared_ptr<std::byte>> Allocate(uint64_t bytes) const;

  const int codec_;
  const FormMemory memory_;
  const uint64_t draw_key_;
};

}  // namespace stepback
