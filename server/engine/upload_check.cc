#include "server/engine/upload_check.h"

#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <utility>

#include "server/base/errors.h"
#include "server/base/status_macros.h"
#include "server/core/checked_push.h"

namespace stepback {
namespace {

using absl::StatusCode;

absl::Status Refuse(const char* reason, const ModelSpec& spec, const std::string& message) {
  return Error(StatusCode::kInvalidArgument, reason, fmt::format("model '{}': {}", spec.name, message));
}

absl::Status CheckFingerprint(const std::string& fingerprint, const ModelSpec& spec, const Layout& layout) {
  if (fingerprint.empty()) return absl::OkStatus();
  const auto& own = layout.fingerprint();
  if (fingerprint.size() == own.size() && std::memcmp(fingerprint.data(), own.data(), own.size()) == 0) {
    return absl::OkStatus();
  }
  return Error(StatusCode::kFailedPrecondition, "FINGERPRINT_MISMATCH",
               fmt::format("model '{}' has the layout {}, the push was made for another", spec.name,
                           layout.fingerprint_hex()));
}

absl::Status CheckNumbers(const PushHeader& header, const ModelSpec& spec) {
  if (header.sequence == 0) return Refuse("SEQUENCE_INVALID", spec, "sequence is 0, expected 1 or more");
  if (header.samples > kSamplesMax) {
    return Refuse("SAMPLES_INVALID", spec,
                  fmt::format("samples is {}, at most {}", header.samples, kSamplesMax));
  }
  if (!std::isfinite(header.loss_scale) || header.loss_scale < 1) {
    return Refuse("LOSS_SCALE_INVALID", spec,
                  fmt::format("loss_scale is {}, expected a finite number >= 1", header.loss_scale));
  }
  return absl::OkStatus();
}

absl::Status CheckPart(const UploadRequest& request, const ModelSpec& spec) {
  if (request.part_count == 0 || request.part_count > kPartsMax || request.part >= request.part_count) {
    return Refuse("PART_INVALID", spec,
                  fmt::format("part {} of {}, expected parts 0.. of at most {}", request.part,
                              request.part_count, kPartsMax));
  }
  if (request.resume_offset > request.total_bytes) {
    return Refuse("BAD_OFFSET", spec,
                  fmt::format("resume_offset is {}, the part has {} bytes", request.resume_offset,
                              request.total_bytes));
  }
  return absl::OkStatus();
}

absl::StatusOr<const kernels::CodecInfo*> CodecOf(int codec, const ModelSpec& spec) {
  const auto codecs = kernels::Codecs();
  if (codec >= 0 && static_cast<size_t>(codec) < codecs.size()) return &codecs[codec];
  return Refuse("CODEC_UNKNOWN", spec,
                fmt::format("codec {} is unknown, there are {}", codec, codecs.size()));
}

}  // namespace

absl::StatusOr<CheckedUpload> CheckUpload(UploadRequest request, const ModelSpec& spec,
                                          const Layout& layout) {
  const PushHeader& header = request.header;
  RETURN_IF_ERROR(CheckFingerprint(request.fingerprint, spec, layout));
  RETURN_IF_ERROR(CheckNumbers(header, spec));
  RETURN_IF_ERROR(CheckPart(request, spec));
  ASSIGN_OR_RETURN(const kernels::CodecInfo* codec, CodecOf(header.codec, spec));
  RETURN_IF_ERROR(CheckKind(spec, header));
  ASSIGN_OR_RETURN(const std::vector<uint8_t> present, PresentIn(spec.name, layout, header));
  if (header.fragment.has_value()) {
    RETURN_IF_ERROR(layout.fragments().CheckRanges(spec.name, *header.fragment, request.ranges));
  }
  ASSIGN_OR_RETURN(WireLayout part,
                   WireLayout::Make(layout, *codec, Direction::kPush, present, request.ranges));
  RETURN_IF_ERROR(CheckPresent(spec, layout, header, present));
  if (request.total_bytes != part.total_bytes()) {
    return Refuse("SIZE_MISMATCH", spec,
                  fmt::format("part {} announces {} bytes, its elements take {} in codec {}", request.part,
                              request.total_bytes, part.total_bytes(), codec->name));
  }
  CheckedUpload checked{.push_bytes = part.total_bytes()};
  if (request.part_count > 1 || !request.ranges.empty()) {
    ASSIGN_OR_RETURN(const WireLayout whole, WholePush(header, layout));
    checked.push_bytes = whole.total_bytes();
  }
  if (request.part_count == 1 && part.total_bytes() != checked.push_bytes) {
    return Refuse(
        "PART_MISMATCH", spec,
        fmt::format("the only part has {} bytes, the push has {}", part.total_bytes(), checked.push_bytes));
  }
  checked.part = std::make_shared<const WireLayout>(std::move(part));
  checked.request = std::move(request);
  return checked;
}

absl::StatusOr<WireLayout> WholePush(const PushHeader& header, const Layout& layout) {
  ASSIGN_OR_RETURN(const std::vector<uint8_t> present, PresentIn("", layout, header));
  return WireLayout::Make(layout, kernels::Codecs()[header.codec], Direction::kPush, present, {});
}

bool SamePush(const PushHeader& a, const PushHeader& b) {
  return a.kind == b.kind && a.base == b.base && a.samples == b.samples && a.local_steps == b.local_steps &&
         a.loss_scale == b.loss_scale && a.codec == b.codec && a.present == b.present &&
         a.fragment == b.fragment && a.fragment_step == b.fragment_step;
}

}  // namespace stepback
