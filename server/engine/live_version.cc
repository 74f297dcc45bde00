#include "server/engine/live_version.h"

#include <fmt/format.h>

#include "kernels/draw.h"
#include "server/base/errors.h"
#include "server/base/status_macros.h"
#include "server/core/eval_slot.h"

namespace stepback {
namespace {

// What is shown: an average by its index, or one of these.
constexpr int kPhi = -1;
constexpr int kTheta = -2;
constexpr int kInnerAverage = -3;  // of an inner rule that averages by itself

absl::Status NotConfigured(const ModelSpec& spec, const std::string& name) {
  std::string known;
  for (const AverageSpec& average : spec.averages) known += (known.empty() ? "" : ", ") + average.name;
  return WithField(Error(absl::StatusCode::kFailedPrecondition, "AVERAGE_NOT_CONFIGURED",
                         fmt::format("model '{}' has no average '{}'; it has {}", spec.name,
                                     name.substr(0, 64), known.empty() ? "none" : known)),
                   "view");
}

absl::StatusOr<int> ShownAverage(const ModelVersion& version, const std::string& name) {
  const std::vector<AverageSpec>& averages = version.spec->averages;
  for (size_t i = 0; i < averages.size(); ++i) {
    if (averages[i].name != name) continue;
    const std::vector<ShownTerm> terms = ShownTerms(version, i);
    return terms.size() == 1 && terms[0].array == version.phi ? kPhi : static_cast<int>(i);
  }
  return NotConfigured(*version.spec, name);
}

// Views of the same bytes share their forms: delta mode holds no theta, after a sync theta is phi itself, and
// so is an average before its first sample.
absl::StatusOr<int> ShownOf(const ModelVersion& version, const View& view) {
  if (view.kind == View::kAverage) return ShownAverage(version, view.average);
  if (view.kind == View::kEval && EvalSlotOf(*version.spec) >= 0) return kInnerAverage;
  const bool theta = view.kind == View::kTrain && version.theta != nullptr && version.theta != version.phi;
  return theta ? kTheta : kPhi;
}

FormSource SourceOf(const ModelVersion& version, int shown) {
  if (shown == kPhi) return version.phi;
  if (shown == kTheta) return version.theta;
  if (shown == kInnerAverage) {
    FormSource source({{version.inner_slots[EvalSlotOf(*version.spec)]}}, version.phi);
    source.averaged_are_numbers = false;
    return source;
  }
  return {ShownTerms(version, shown), version.phi};
}

}  // namespace

absl::StatusOr<std::shared_ptr<EncodedForm>> LiveVersion::Form(const View& view, int codec) {
  const auto codecs = kernels::Codecs();
  if (codec < 0 || static_cast<size_t>(codec) >= codecs.size()) {
    return Error(absl::StatusCode::kInvalidArgument, "CODEC_UNKNOWN",
                 fmt::format("model '{}': codec {} is unknown, there are {}", version_->spec->name, codec,
                             codecs.size()));
  }
  ASSIGN_OR_RETURN(const int shown, ShownOf(*version_, view));
  MutexLock lock(&mu_);
  std::shared_ptr<EncodedForm>& form = forms_[{shown, codec}];
  if (form == nullptr) {
    const Version version = version_->version;
    ASSIGN_OR_RETURN(
        form, EncodedForm::Make(SourceOf(*version_, shown), version_->layout, codecs[codec], memory_,
                                kernels::DrawKey(version_->spec->name, "", version.term, version.counter)));
  }
  return form;
}

}  // namespace stepback
