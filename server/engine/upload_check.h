// Checks the header of one upload against its model, before anything is reserved or read. Pure.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "server/core/layout.h"
#include "server/core/spec.h"
#include "server/core/wire_layout.h"
#include "server/engine/engine.h"

namespace stepback {

inline constexpr uint32_t kPartsMax = 1024;
inline constexpr uint64_t kSamplesMax = uint64_t{1} << 40;

struct CheckedUpload {
  UploadRequest request;
  std::shared_ptr<const WireLayout> part;  // of this part's bytes
  uint64_t push_bytes = 0;                 // of the whole push
};

// INVALID_ARGUMENT (KIND_NOT_ACCEPTED, SEQUENCE_INVALID, SAMPLES_INVALID, LOSS_SCALE_INVALID, CODEC_UNKNOWN,
// PART_INVALID, PART_MISMATCH, LAYOUT_MISMATCH, FRAGMENT_INVALID, SIZE_MISMATCH, BAD_OFFSET) or
// FAILED_PRECONDITION (FINGERPRINT_MISMATCH). Messages name the model.
absl::StatusOr<CheckedUpload> CheckUpload(UploadRequest request, const ModelSpec& spec, const Layout& layout);

// The whole push that `header` announces, without ranges. `header` has passed CheckUpload.
absl::StatusOr<WireLayout> WholePush(const PushHeader& header, const Layout& layout);

// Whether two parts announce the same push.
bool SamePush(const PushHeader& a, const PushHeader& b);

}  // namespace stepback
