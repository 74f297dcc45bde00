// A push whose header and size fit the model: what waits for its turn and then joins a round. Movable value.
#pragma once

#include "absl/status/statusor.h"
#include "server/core/push.h"
#include "server/core/wire_layout.h"

namespace stepback {

struct CheckedPush {
  Push push;
  WireLayout wire;
};

// Everything that can be said of a push without knowing the state of the model. INVALID_ARGUMENT naming the
// model, the value and the bound: KIND_NOT_ACCEPTED, CODEC_UNKNOWN, SAMPLES_INVALID, LOSS_SCALE_INVALID,
// LAYOUT_MISMATCH, SIZE_MISMATCH, TENSOR_MISSING. Such a push does not consume its number.
absl::StatusOr<CheckedPush> CheckPush(const ModelSpec& spec, const Layout& layout, Push push);

// What a model's pushes hold: gradients or deltas as its mode says, or weights where its outer rule takes
// them.
PushKind AcceptedKind(const ModelSpec& spec);
// INVALID_ARGUMENT naming rule and kinds (KIND_NOT_ACCEPTED); of weights also a loss scale
// (LOSS_SCALE_INVALID) or a codec for differences (CODEC_FOR_DIFFERENCES). The codec is known.
absl::Status CheckKind(const ModelSpec& spec, const PushHeader& header);

// The tensors that a push has: those of its fragment (if the model has fragments) that `present` names.
// INVALID_ARGUMENT: FRAGMENT_INVALID, LAYOUT_MISMATCH.
absl::StatusOr<std::vector<uint8_t>> PresentIn(const std::string& model, const Layout& layout,
                                               const PushHeader& header);

// Whether a push of these tensors (as PresentIn says) suits the model's aggregator: one that compares whole
// contributions needs every tensor that is pushed at all, of the fragment if it has one.
// INVALID_ARGUMENT(TENSOR_MISSING).
absl::Status CheckPresent(const ModelSpec& spec, const Layout& layout, const PushHeader& header,
                          const std::vector<uint8_t>& present);

}  // namespace stepback
