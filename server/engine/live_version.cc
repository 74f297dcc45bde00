#include "server/engine/live_version.h"

#include <fmt/format.h>

#include "server/base/errors.h"
#include "server/base/status_macros.h"
#include "server/core/eval_slot.h"

namespace stepback {
namespace {

// The view whose forms are shared. Delta mode holds no theta, after a sync it is phi itself, and without slow
// weights always; then both views are one, unless the inner rule has an array of its own for evaluators.
View Shown(const ModelVersion& version, View view) {
  const bool fast = version.theta != nullptr && version.theta != version.phi;
  return fast || EvalSlotOf(*version.spec) >= 0 ? view : View::kEval;
}

FormArrays ArraysOf(const ModelVersion& version, View shown) {
  if (shown == View::kTrain) return version.theta;
  const int slot = EvalSlotOf(*version.spec);
  return {version.phi, slot < 0 ? nullptr : version.inner_slots[slot]};
}

}  // namespace

absl::StatusOr<std::shared_ptr<EncodedForm>> LiveVersion::Form(View view, int codec) {
  const auto codecs = kernels::Codecs();
  if (codec < 0 || static_cast<size_t>(codec) >= codecs.size()) {
    return Error(absl::StatusCode::kInvalidArgument, "CODEC_UNKNOWN",
                 fmt::format("model '{}': codec {} is unknown, there are {}", version_->spec->name, codec,
                             codecs.size()));
  }
  const View shown = Shown(*version_, view);
  MutexLock lock(&mu_);
  std::shared_ptr<EncodedForm>& form = forms_[{shown, codec}];
  if (form == nullptr) {
    ASSIGN_OR_RETURN(form, EncodedForm::Make(ArraysOf(*version_, shown), version_->layout, codecs[codec],
                                             memory_));
  }
  return form;
}

}  // namespace stepback
