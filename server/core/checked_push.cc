#include "server/core/checked_push.h"

#include <fmt/format.h>

#include <cmath>

#include "kernels/rule_info.h"
#include "server/base/errors.h"
#include "server/base/status_macros.h"
#include "server/core/aggregator_choice.h"

namespace stepback {
namespace {

constexpr uint64_t kMaxSamples = uint64_t{1} << 40;
constexpr uint64_t kMaxLocalSteps = uint64_t{1} << 40;

absl::Status Refuse(const char* reason, const std::string& message) {
  return Error(absl::StatusCode::kInvalidArgument, reason, message);
}

const char* NameOf(PushKind kind) {
  switch (kind) {
    case PushKind::kGradient:
      return "gradient";
    case PushKind::kDelta:
      return "delta";
    case PushKind::kWeights:
      return "weights";
  }
  return "unknown";
}

absl::Status CheckHeader(const ModelSpec& spec, const PushHeader& header) {
  if (header.codec < 0 || static_cast<size_t>(header.codec) >= kernels::Codecs().size()) {
    return Refuse("CODEC_UNKNOWN", fmt::format("model '{}': codec id {}, expected 0..{}", spec.name,
                                               header.codec, kernels::Codecs().size() - 1));
  }
  if (header.samples > kMaxSamples) {
    return Refuse("SAMPLES_INVALID",
                  fmt::format("model '{}': samples is {}, at most 2^40", spec.name, header.samples));
  }
  if (header.local_steps > kMaxLocalSteps) {
    return Refuse("LOCAL_STEPS_INVALID",
                  fmt::format("model '{}': local_steps is {}, at most 2^40", spec.name, header.local_steps));
  }
  if (!(std::isfinite(header.loss_scale) && header.loss_scale >= 1)) {
    return Refuse("LOSS_SCALE_INVALID",
                  fmt::format("model '{}': loss_scale is {}, expected a finite number >= 1", spec.name,
                              header.loss_scale));
  }
  return CheckKind(spec, header);
}

// "its outer rule 'fed_async' takes weights", "it is in gradient mode".
std::string WhyAccepted(const ModelSpec& spec, PushKind accepted) {
  if (accepted == PushKind::kGradient) return "it is in GRADIENT mode";
  return fmt::format("its outer rule '{}' takes {}", spec.outer.name,
                     accepted == PushKind::kWeights ? "weights" : "deltas");
}

}  // namespace

PushKind AcceptedKind(const ModelSpec& spec) {
  if (spec.mode == Mode::kGradient) return PushKind::kGradient;
  const kernels::RuleInfo* const outer = kernels::FindOuterRule(spec.outer.name);
  return outer != nullptr && outer->takes_weights ? PushKind::kWeights : PushKind::kDelta;
}

absl::Status CheckKind(const ModelSpec& spec, const PushHeader& header) {
  const PushKind accepted = AcceptedKind(spec);
  if (header.kind != accepted) {
    return Refuse("KIND_NOT_ACCEPTED",
                  fmt::format("model '{}': push of kind {}, expected {}: {}", spec.name, NameOf(header.kind),
                              NameOf(accepted), WhyAccepted(spec, accepted)));
  }
  if (accepted != PushKind::kWeights) return absl::OkStatus();
  if (header.loss_scale != 1) {
    return Refuse("LOSS_SCALE_INVALID", fmt::format("model '{}': loss_scale is {}, expected 1 for weights",
                                                    spec.name, header.loss_scale));
  }
  const kernels::CodecInfo& codec = kernels::Codecs()[header.codec];
  if (!codec.for_differences) return absl::OkStatus();
  return Refuse(
      "CODEC_FOR_DIFFERENCES",
      fmt::format("model '{}': codec is '{}', which can hold differences, and the push is of weights",
                  spec.name, codec.name));
}

absl::StatusOr<std::vector<uint8_t>> PresentIn(const std::string& model, const Layout& layout,
                                               const PushHeader& header) {
  const FragmentTable& fragments = layout.fragments();
  RETURN_IF_ERROR(fragments.Check(model, header.fragment));
  if (!header.fragment.has_value()) return header.present;
  const std::vector<uint8_t>& own = fragments[*header.fragment].present;
  // A bitmap of another length is WireLayout's to refuse.
  if (header.present.size() != own.size()) return header.present.empty() ? own : header.present;
  for (size_t t = 0; t < layout.tensors().size(); ++t) {
    if ((header.present[t / 8] & ~own[t / 8] & 1 << t % 8) == 0) continue;
    return Refuse("FRAGMENT_INVALID",
                  fmt::format("model '{}': present names tensor {}, which is in fragment {}, in a push of "
                              "fragment {}",
                              model, t, fragments.Of(t).fragment, *header.fragment));
  }
  return header.present;
}

absl::Status CheckPresent(const ModelSpec& spec, const Layout& layout, const PushHeader& header,
                          const std::vector<uint8_t>& present) {
  if (present.empty() || !ComparesContributions(spec.rounds)) return absl::OkStatus();
  for (size_t t = 0; t < spec.tensors.size(); ++t) {
    const bool sent = (present[t / 8] >> t % 8 & 1) != 0;
    if (sent || spec.tensors[t].role == Role::kFrozen) continue;
    if (header.fragment.has_value() && layout.fragments().Of(t).fragment != int64_t{*header.fragment})
      continue;
    return Refuse(
        "TENSOR_MISSING",
        fmt::format("model '{}': the push lacks tensor '{}'; aggregator '{}' compares whole contributions",
                    spec.name, spec.tensors[t].name, spec.rounds.aggregator.name));
  }
  return absl::OkStatus();
}

absl::StatusOr<CheckedPush> CheckPush(const ModelSpec& spec, const Layout& layout, Push push) {
  RETURN_IF_ERROR(CheckHeader(spec, push.header));
  const kernels::CodecInfo& codec = kernels::Codecs()[push.header.codec];
  ASSIGN_OR_RETURN(const std::vector<uint8_t> present, PresentIn(spec.name, layout, push.header));
  ASSIGN_OR_RETURN(WireLayout wire, WireLayout::Make(layout, codec, Direction::kPush, present, {}));
  RETURN_IF_ERROR(CheckPresent(spec, layout, push.header, present));
  if (push.payload.size() != wire.total_bytes()) {
    return Refuse("SIZE_MISMATCH",
                  fmt::format("model '{}': {} has {} bytes, expected {} in codec {}", spec.name,
                              NameOf(push.header.kind), push.payload.size(), wire.total_bytes(), codec.name));
  }
  if (push.header.samples == 0) push.header.samples = 1;
  if (push.header.local_steps == 0) push.header.local_steps = 1;
  return CheckedPush{std::move(push), std::move(wire)};
}

}  // namespace stepback
