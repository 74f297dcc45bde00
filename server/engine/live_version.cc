#include "server/engine/live_version.h"

#include <fmt/format.h>

#include "server/base/errors.h"
#include "server/base/status_macros.h"

namespace stepback {
namespace {

// The array that a view shows. Delta mode holds no theta; after a sync it is phi itself, and shares its
// forms.
View Shown(const ModelVersion& version, View view) {
  return view == View::kTrain && version.theta != nullptr && version.theta != version.phi ? View::kTrain
                                                                                          : View::kEval;
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
    const Array& array = shown == View::kTrain ? version_->theta : version_->phi;
    ASSIGN_OR_RETURN(form, EncodedForm::Make(array, version_->layout, codecs[codec], memory_));
  }
  return form;
}

}  // namespace stepback
