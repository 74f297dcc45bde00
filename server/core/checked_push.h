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
// LAYOUT_MISMATCH, SIZE_MISMATCH. Such a push does not consume its number.
absl::StatusOr<CheckedPush> CheckPush(const ModelSpec& spec, const Layout& layout, Push push);

}  // namespace stepback
