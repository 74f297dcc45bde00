// Headers of the data path from their proto form: names, sizes and codecs are checked here, the rest against
// the model by the engine. Thread: any; pure.
#pragma once

#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "server/engine/engine.h"
#include "stepback/v1/training.pb.h"

namespace stepback {

inline constexpr uint32_t kProtocolVersion = 1;

// INVALID_ARGUMENT: INVALID_NAME, INVALID_FIELD, CODEC_UNKNOWN.
absl::StatusOr<UploadRequest> UploadFromProto(const v1::PushHeader& header);
// The reading half of PullRequest and StepRequest.Header.pull.
absl::StatusOr<PullSpec> PullFromProto(const v1::PullRequest& request);
// Difference.form of kLosslessBf16; other differences are named by their codec.
inline constexpr std::string_view kLosslessDifference = "lossless_bf16";
std::string_view DifferenceName(int codec);
// "" means the default.
absl::StatusOr<View> ViewFromProto(const std::string& view);
// Id in kernels::Codecs(); "" means "f32".
absl::StatusOr<int> CodecFromProto(const std::string& name);
// The same for pulls and initial weights; INVALID_ARGUMENT(CODEC_FOR_DIFFERENCES) for a form of pushes only.
absl::StatusOr<int> WeightsCodecFromProto(const std::string& name);
absl::StatusOr<OpenSession> OpenFromProto(const v1::OpenSessionRequest& request);
WorkerHealth HealthFromProto(const v1::WorkerHealth& health);

inline Version VersionFromProto(const v1::Version& version) { return {version.term(), version.counter()}; }

}  // namespace stepback
