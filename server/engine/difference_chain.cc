#include "server/engine/difference_chain.h"

#include <algorithm>
#include <utility>

#include "kernels/draw.h"
#include "server/base/status_macros.h"

namespace stepback {

absl::StatusOr<std::optional<DifferenceChain::Answer>> DifferenceChain::Read(
    const std::shared_ptr<LiveVersion>& live, const DifferenceSpec& has) {
  MutexLock lock(&mu_);
  const Version version = live->version()->version;
  if (whole_.data != nullptr && version < at_) return std::nullopt;
  if (whole_.data == nullptr || at_ < version) RETURN_IF_ERROR(Advance(live));
  return AnswerTo(has);
}

absl::Status DifferenceChain::Advance(const std::shared_ptr<LiveVersion>& live) {
  const ModelVersion& version = *live->version();
  ASSIGN_OR_RETURN(const std::shared_ptr<EncodedForm> weights,
                   live->Form(view_, kernels::FindCodec("f32")->id));
  const DifferenceEncoder encoder(
      codec_, memory_,
      kernels::DrawKey(version.spec->name, "", version.version.term, version.version.counter));
  // Weights of another term come from a snapshot: no reader is near them.
  if (whole_.data == nullptr || layout_ != version.layout || at_.term != version.version.term) {
    ASSIGN_OR_RETURN(whole_, encoder.First(weights.get(), live));
    links_.clear();
  } else {
    ASSIGN_OR_RETURN(DifferenceEncoder::Step step, encoder.Next(weights.get(), live, whole_));
    whole_ = std::move(step.whole);
    if (step.difference) {
      links_.push_back({at_, *std::move(step.difference)});
    } else {
      links_.clear();
    }
  }
  layout_ = version.layout;
  at_ = version.version;
  DropOldLinks();
  return absl::OkStatus();
}

void DifferenceChain::DropOldLinks() {
  uint64_t bytes = 0;
  size_t kept = 0;
  while (kept < std::min(links_.size(), kLinksMax)) {
    const uint64_t size = links_[links_.size() - 1 - kept].bytes.size;
    if (bytes + size >= whole_.size) break;
    bytes += size;
    ++kept;
  }
  links_.erase(links_.begin(), links_.end() - static_cast<ptrdiff_t>(kept));
  held_bytes_ = whole_.size + bytes;
}

DifferenceChain::Answer DifferenceChain::AnswerTo(const DifferenceSpec& has) const {
  Answer answer{.what = {.codec = codec_, .chain = id_}, .parts = {}};
  // The bf16 form of a version is the same in every chain.
  const bool same = has.base.term != 0 && (codec_ == kLosslessBf16 || has.chain == id_);
  auto link = std::find_if(links_.begin(), links_.end(), [&](const Link& l) { return l.from == has.base; });
  if (!same || (link == links_.end() && has.base != at_)) {
    answer.parts = {whole_};
    return answer;
  }
  answer.what.base = has.base;
  for (; link != links_.end(); ++link, ++answer.what.count) answer.parts.push_back(link->bytes);
  return answer;
}

}  // namespace stepback
