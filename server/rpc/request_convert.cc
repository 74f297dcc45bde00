#include "server/rpc/request_convert.h"

#include <utility>

#include <fmt/format.h>

#include "server/base/errors.h"
#include "server/base/status_macros.h"
#include "server/engine/chunk_check.h"
#include "server/rpc/names.h"
#include "server/rpc/unset.h"
#include "server/rpc/to_grpc.h"

namespace stepback {
namespace {

constexpr std::string_view kAverageView = "average:";
constexpr int kRangesMax = 65536;
constexpr uint32_t kPullChunkBytesMin = 4096;
constexpr uint32_t kPullChunkBytesDefault = 1 << 20;
constexpr size_t kFingerprintBytes = 32;

absl::StatusOr<std::vector<ElementRange>> RangesFromProto(
    const google::protobuf::RepeatedPtrField<v1::Range>& proto) {
  if (proto.size() > kRangesMax) {
    return InvalidField("ranges", fmt::format("has {} entries, at most {}", proto.size(), kRangesMax));
  }
  std::vector<ElementRange> ranges;
  for (const v1::Range& range : proto) ranges.push_back({range.begin(), range.count()});
  return ranges;
}

absl::Status CheckFingerprintSize(const std::string& fingerprint) {
  if (fingerprint.empty() || fingerprint.size() == kFingerprintBytes) return absl::OkStatus();
  return InvalidField(
      "fingerprint", fmt::format("has {} bytes, expected {} or none", fingerprint.size(), kFingerprintBytes));
}

absl::StatusOr<PushHeader> PushFromProto(const v1::PushHeader& proto) {
  RETURN_IF_ERROR(CheckClientId(proto.client_id(), "client_id"));
  if (!v1::PushKind_IsValid(proto.kind()) || proto.kind() == v1::PUSH_KIND_UNSPECIFIED) {
    return InvalidField("kind", fmt::format("is {}, expected PUSH_KIND_GRADIENT, _DELTA or _WEIGHTS",
                                            static_cast<int>(proto.kind())));
  }
  PushHeader header;
  header.client_id = proto.client_id();
  header.epoch = proto.epoch();
  header.sequence = proto.sequence();
  header.kind = static_cast<PushKind>(proto.kind());
  header.base = VersionFromProto(proto.base());
  header.samples = Or<uint64_t>(proto.samples(), 1);
  header.local_steps = Or<uint64_t>(proto.local_steps(), 1);
  header.loss_scale = Or(proto.loss_scale(), 1.0);
  ASSIGN_OR_RETURN(header.codec, CodecFromProto(proto.codec()));
  header.present.assign(proto.present().begin(), proto.present().end());
  if (proto.has_fragment()) {
    header.fragment = proto.fragment().index();
    header.fragment_step = proto.fragment().base_step();
  }
  return header;
}

absl::StatusOr<int> DifferenceCodec(const std::string& form) {
  if (form == kLosslessDifference) return kLosslessBf16;
  const kernels::CodecInfo* codec = kernels::FindCodec(form);
  if (codec != nullptr && codec->name != "f32") return codec->id;
  std::string known(kLosslessDifference);
  for (const kernels::CodecInfo& each : kernels::Codecs()) {
    if (each.name != "f32") known += fmt::format(" {}", each.name);
  }
  return WithField(Error(absl::StatusCode::kInvalidArgument, "CODEC_UNKNOWN",
                         fmt::format("difference.form is '{}', there are: {}", Shortened(form, 64), known)),
                   "difference.form");
}

// The full form is part of the wish: readers of one chain must have the same bits however they got them.
absl::Status TakeDifference(const v1::PullRequest& request, PullSpec* spec) {
  const v1::Difference& proto = request.difference();
  ASSIGN_OR_RETURN(const int codec, DifferenceCodec(proto.form()));
  const std::string_view full = codec == kLosslessBf16 ? "bf16" : "f32";
  if (!request.codec().empty() && request.codec() != full) {
    return InvalidField("codec", fmt::format("is '{}', expected '{}' or none with differences in '{}'",
                                             Shortened(request.codec(), 64), full, proto.form()));
  }
  if (request.ranges_size() > 0) {
    return InvalidField("ranges", fmt::format("has {} entries, expected none with a difference",
                                              request.ranges_size()));
  }
  if (request.has_fragment()) {
    return InvalidField("fragment", fmt::format("is {}, expected none with a difference", request.fragment()));
  }
  spec->codec = kernels::FindCodec(full)->id;
  spec->difference = {codec, VersionFromProto(proto.base()), proto.chain()};
  return absl::OkStatus();
}

}  // namespace

std::string_view DifferenceName(int codec) {
  return codec == kLosslessBf16 ? kLosslessDifference : kernels::Codecs()[codec].name;
}

static_assert(static_cast<int>(PushKind::kWeights) == v1::PUSH_KIND_WEIGHTS);
static_assert(static_cast<int>(SessionRole::kReader) == v1::SESSION_ROLE_READER);

absl::StatusOr<UploadRequest> UploadFromProto(const v1::PushHeader& proto) {
  UploadRequest request;
  ASSIGN_OR_RETURN(request.header, PushFromProto(proto));
  RETURN_IF_ERROR(CheckFingerprintSize(proto.fingerprint()));
  ASSIGN_OR_RETURN(request.ranges, RangesFromProto(proto.ranges()));
  request.part = proto.part();
  request.part_count = Or(proto.part_count(), 1u);
  request.total_bytes = proto.total_bytes();
  request.resume_offset = proto.resume_offset();
  request.fingerprint = proto.fingerprint();
  request.health = HealthFromProto(proto.health());
  request.save_soon = proto.save_soon();
  return request;
}

absl::StatusOr<PullSpec> PullFromProto(const v1::PullRequest& request) {
  PullSpec spec;
  ASSIGN_OR_RETURN(spec.view, ViewFromProto(request.view()));
  ASSIGN_OR_RETURN(spec.codec, WeightsCodecFromProto(request.codec()));
  ASSIGN_OR_RETURN(spec.ranges, RangesFromProto(request.ranges()));
  if (request.has_fragment()) spec.fragment = request.fragment();
  if (request.has_difference()) RETURN_IF_ERROR(TakeDifference(request, &spec));
  spec.chunk_bytes = Or(request.chunk_bytes(), kPullChunkBytesDefault);
  if (spec.chunk_bytes < kPullChunkBytesMin || spec.chunk_bytes > kChunkBytesMax) {
    return InvalidField("chunk_bytes", fmt::format("is {}, expected {}..{}", spec.chunk_bytes,
                                                   kPullChunkBytesMin, kChunkBytesMax));
  }
  return spec;
}

absl::StatusOr<View> ViewFromProto(const std::string& view) {
  if (view.empty() || view == "eval") return View(View::kEval);
  if (view == "train") return View(View::kTrain);
  if (view.rfind(kAverageView, 0) == 0) return View(View::kAverage, view.substr(kAverageView.size()));
  return WithField(Error(absl::StatusCode::kInvalidArgument, "VIEW_UNKNOWN",
                         fmt::format("view is '{}', expected \"eval\", \"train\" or \"average:NAME\"",
                                     Shortened(view, 64))),
                   "view");
}

absl::StatusOr<int> CodecFromProto(const std::string& name) {
  if (const kernels::CodecInfo* codec = kernels::FindCodec(name.empty() ? "f32" : name)) return codec->id;
  std::string known;
  for (const kernels::CodecInfo& codec : kernels::Codecs()) known += fmt::format(" {}", codec.name);
  return WithField(Error(absl::StatusCode::kInvalidArgument, "CODEC_UNKNOWN",
                         fmt::format("codec is '{}', there are:{}", Shortened(name, 64), known)),
                   "codec");
}

absl::StatusOr<int> WeightsCodecFromProto(const std::string& name) {
  ASSIGN_OR_RETURN(const int id, CodecFromProto(name));
  if (!kernels::Codecs()[id].for_differences) return id;
  return WithField(Error(absl::StatusCode::kInvalidArgument, "CODEC_FOR_DIFFERENCES",
                         fmt::format("codec is '{}', which only pushes can be in, not weights", name)),
                   "codec");
}

absl::StatusOr<OpenSession> OpenFromProto(const v1::OpenSessionRequest& request) {
  RETURN_IF_ERROR(CheckClientId(request.client_id(), "client_id"));
  RETURN_IF_ERROR(CheckFingerprintSize(request.fingerprint()));
  if (!v1::SessionRole_IsValid(request.role())) {
    return InvalidField("role", fmt::format("is {}, expected 0..2", static_cast<int>(request.role())));
  }
  if (request.protocol_version() != kProtocolVersion) {
    return Error(absl::StatusCode::kFailedPrecondition, "PROTOCOL_VERSION",
                 fmt::format("protocol_version is {}, this server speaks {}", request.protocol_version(),
                             kProtocolVersion));
  }
  const auto role = request.role() == v1::SESSION_ROLE_UNSPECIFIED ? SessionRole::kTrainer
                                                                   : static_cast<SessionRole>(request.role());
  return OpenSession{.client_id = request.client_id(), .role = role, .attach = request.attach()};
}

WorkerHealth HealthFromProto(const v1::WorkerHealth& proto) {
  WorkerHealth health;
  if (proto.has_train_loss()) health.train_loss = proto.train_loss();
  if (proto.has_tokens()) health.tokens = proto.tokens();
  if (proto.has_tokens_per_second()) health.tokens_per_second = proto.tokens_per_second();
  if (proto.has_gradient_norm()) health.gradient_norm = proto.gradient_norm();
  if (proto.has_inner_learning_rate()) health.inner_learning_rate = proto.inner_learning_rate();
  if (proto.has_compute_seconds()) health.compute_seconds = proto.compute_seconds();
  if (proto.has_wait_seconds()) health.wait_seconds = proto.wait_seconds();
  return health;
}

}  // namespace stepback
