// What decides a model's calls beside its version, in a snapshot's record (model_image.proto), for models
// with a log. Times in it are the model's own: nanoseconds since its creation. Pure.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "server/base/clock.h"
#include "server/core/open_state.h"
#include "server/store/log_entry.h"
#include "stepback/v1/model_image.pb.h"

namespace stepback {

// A model between two calls, and where its log stood.
struct OpenPlace {
  OpenState state;  // its times count from TimePoint(), which is the model's creation
  LogPlace place;   // `end` and `chain`: behind the last call that is in `state`
  Duration time{};  // of that call
};

// The first position of the log that a recovery from here reads.
uint64_t OldestNeeded(const OpenPlace& open);

// `clients`: the version's table, beside which the state's own is a few records. The arrays of `history` are
// left to the caller.
void StoreOpen(const OpenPlace& open, const ClientTable& clients, v1::StoredOpenState* stored);
// DATA_LOSS(IMAGE_DAMAGED).
absl::StatusOr<OpenPlace> LoadOpen(const v1::StoredOpenState& stored, const ClientTable& clients);

}  // namespace stepback
