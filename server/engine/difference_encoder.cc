#include "server/engine/difference_encoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "kernels/codecs/bf16_changes.h"
#include "kernels/encode_with.h"
#include "server/base/errors.h"
#include "server/base/status_macros.h"

namespace stepback {
namespace {

constexpr uint64_t kStepElements = 4 * kernels::kCodecBlockMax;  // at a time: whole blocks of every codec

}  // namespace

// visit(run, element, count, floats): numbers, at most kStepElements of one tensor at a time; raw(run, bytes):
// carried tensors. A run is that of the full form, whose byte offsets it has.
class DifferenceEncoder::Walk {
 public:
  Walk(EncodedForm* weights, std::shared_ptr<const void> owner, WireLayout full)
      : weights_(weights), owner_(std::move(owner)), full_(std::move(full)) {}

  const WireLayout& full() const { return full_; }
  bool IsFrozen(const WireRun& run) const {
    return weights_->layout().tensors()[run.tensor].role == Role::kFrozen;
  }

  template <class Numbers, class Raw>
  absl::Status Run(Numbers numbers, Raw raw) const {
    std::vector<float> scratch(kStepElements);
    for (size_t k = 0; k < full_.runs().size(); ++k) {
      const WireRun &run = full_.runs()[k], &source = weights_->wire().runs()[k];
      const uint64_t step = run.raw ? kStepElements * sizeof(float) : kStepElements;
      const uint64_t size = run.raw ? run.bytes : run.count, unit = run.raw ? 1 : sizeof(float);
      for (uint64_t done = 0; done < size; done += step) {
        const uint64_t n = std::min(step, size - done);
        RETURN_IF_ERROR(Fetch(source.byte_offset + done * unit, n * unit, scratch.data()));
        if (run.raw) {
          raw(run, done, n, reinterpret_cast<const std::byte*>(scratch.data()));
        } else {
          numbers(run, done, n, scratch.data());
        }
      }
    }
    return absl::OkStatus();
  }

 private:
  absl::Status Fetch(uint64_t offset, uint64_t bytes, float* to) const {
    Payload payload;
    RETURN_IF_ERROR(weights_->Read(offset, bytes, owner_, &payload));
    auto* out = reinterpret_cast<std::byte*>(to);
    for (const kernels::ByteSpan& span : payload.view().spans()) {
      std::memcpy(out, span.data, span.size);
      out += span.size;
    }
    return absl::OkStatus();
  }

  EncodedForm* const weights_;
  const std::shared_ptr<const void> owner_;
  const WireLayout full_;
};

const kernels::CodecInfo& DifferenceEncoder::FullCodec(int codec) {
  return *kernels::FindCodec(codec == kLosslessBf16 ? "bf16" : "f32");
}

absl::StatusOr<SharedBytes> DifferenceEncoder::First(EncodedForm* weights,
                                                     const std::shared_ptr<const void>& owner) const {
  ASSIGN_OR_RETURN(WireLayout full,
                   WireLayout::Make(weights->layout(), FullCodec(codec_), Direction::kPull, {}, {}));
  return FillWhole(Walk(weights, owner, std::move(full)));
}

absl::StatusOr<DifferenceEncoder::Step> DifferenceEncoder::Next(EncodedForm* weights,
                                                                const std::shared_ptr<const void>& owner,
                                                                const SharedBytes& before) const {
  ASSIGN_OR_RETURN(WireLayout full,
                   WireLayout::Make(weights->layout(), FullCodec(codec_), Direction::kPull, {}, {}));
  Walk walk(weights, owner, std::move(full));
  return codec_ == kLosslessBf16 ? NextLossless(std::move(walk), before)
                                 : NextQuantised(std::move(walk), before);
}

absl::StatusOr<SharedBytes> DifferenceEncoder::FillWhole(Walk walk) const {
  const kernels::CodecInfo& codec = walk.full().codec();
  ASSIGN_OR_RETURN(const std::shared_ptr<std::byte> whole, Allocate(walk.full().total_bytes()));
  RETURN_IF_ERROR(walk.Run(
      [&](const WireRun& run, uint64_t first, uint64_t n, const float* x) {
        codec.encode(x, n, whole.get() + run.byte_offset + codec.encoded_bytes(first));
      },
      [&](const WireRun& run, uint64_t first, uint64_t n, const std::byte* bytes) {
        std::memcpy(whole.get() + run.byte_offset + first, bytes, n);
      }));
  return SharedBytes{whole, walk.full().total_bytes()};
}

absl::StatusOr<DifferenceEncoder::Step> DifferenceEncoder::NextLossless(Walk walk,
                                                                        const SharedBytes& before) const {
  Step step;
  ASSIGN_OR_RETURN(step.whole, FillWhole(walk));
  // visit(run, first, n): a block of numbers; or a carried tensor, n == 0.
  const auto blocks = [&](const auto& visit) {
    for (const WireRun& run : walk.full().runs()) {
      if (run.raw) visit(run, 0, 0);
      if (run.raw || walk.IsFrozen(run)) continue;
      for (uint64_t first = 0; first < run.count; first += kernels::kChangeBlock) {
        visit(run, first, std::min<uint64_t>(kernels::kChangeBlock, run.count - first));
      }
    }
  };
  const std::byte *const old = before.data.get(), *const now = step.whole.data.get();
  uint64_t bytes = 0;
  blocks([&](const WireRun& run, uint64_t first, uint64_t n) {
    const uint64_t at = run.byte_offset + 2 * first;
    bytes += run.raw ? run.bytes : kernels::ChangeBytes(n, kernels::CountChanges(old + at, now + at, n));
  });
  if (bytes >= step.whole.size) return step;
  ASSIGN_OR_RETURN(const std::shared_ptr<std::byte> difference, Allocate(bytes));
  std::byte* to = difference.get();
  blocks([&](const WireRun& run, uint64_t first, uint64_t n) {
    const uint64_t at = run.byte_offset + 2 * first;
    if (run.raw) std::memcpy(to, now + at, run.bytes);
    to += run.raw ? run.bytes : kernels::StoreChanges(old + at, now + at, n, to);
  });
  step.difference = SharedBytes{difference, bytes};
  return step;
}

absl::StatusOr<DifferenceEncoder::Step> DifferenceEncoder::NextQuantised(Walk walk,
                                                                         const SharedBytes& before) const {
  const kernels::CodecInfo& codec = kernels::Codecs()[codec_];
  uint64_t bytes = 0;
  for (const WireRun& run : walk.full().runs()) {
    if (!walk.IsFrozen(run)) bytes += run.raw ? run.bytes : codec.encoded_bytes(run.count);
  }
  ASSIGN_OR_RETURN(const std::shared_ptr<std::byte> whole, Allocate(before.size));
  ASSIGN_OR_RETURN(const std::shared_ptr<std::byte> difference, Allocate(bytes));
  std::vector<float> old(kStepElements), lost(kStepElements);
  std::byte* to = difference.get();
  bool finite = true;
  RETURN_IF_ERROR(walk.Run(
      [&](const WireRun& run, uint64_t first, uint64_t n, const float* x) {
        const uint64_t at = run.byte_offset + first * sizeof(float);
        std::memcpy(old.data(), before.data.get() + at, n * sizeof(float));
        if (!walk.IsFrozen(run)) {
          for (uint64_t i = 0; i < n; ++i) lost[i] = x[i] - old[i];
          kernels::EncodeWith(codec, lost.data(), n, {draw_key_, run.tensor, first}, to);
          finite &= codec.all_finite(to, n);
          codec.decode(to, n, lost.data());
          for (uint64_t i = 0; i < n; ++i) old[i] += lost[i];
          to += codec.encoded_bytes(n);
        }
        std::memcpy(whole.get() + at, old.data(), n * sizeof(float));
      },
      [&](const WireRun& run, uint64_t first, uint64_t n, const std::byte* raw) {
        std::memcpy(whole.get() + run.byte_offset + first, raw, n);
        std::memcpy(to, raw, n);
        to += n;
      }));
  if (finite) return Step{{whole, before.size}, SharedBytes{difference, bytes}};
  Step step;
  ASSIGN_OR_RETURN(step.whole, FillWhole(walk));
  return step;
}

absl::StatusOr<std::shared_ptr<std::byte>> DifferenceEncoder::Allocate(uint64_t needed) const {
  const uint64_t bytes = std::max<uint64_t>(needed, 1);  // a model may have nothing but frozen tensors
  std::byte* const data = memory_.allocator->Allocate(bytes);
  if (data == nullptr) {
    return WithRetryAfter(Error(absl::StatusCode::kResourceExhausted, "MEMORY_FULL",
                                fmt::format("model '{}': no memory for {} bytes of a difference",
                                            memory_.model, bytes)),
                          1);
  }
  return std::shared_ptr<std::byte>(
      data, [memory = memory_, bytes](std::byte* p) { memory.allocator->Free(p, bytes); });
}

}  // namespace stepback
