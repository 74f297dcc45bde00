#include "server/engine/differences.h"

#include <algorithm>
#include <utility>

#include "server/base/status_macros.h"

namespace stepback {
namespace {

// Delta mode has one set of weights, whichever of the two a reader names.
View ShownAs(const View& view, const ModelVersion& version) {
  return view.kind == View::kTrain && version.spec->mode == Mode::kDelta ? View(View::kEval) : view;
}

}  // namespace

absl::StatusOr<std::optional<DifferenceChain::Answer>> Differences::Read(
    const std::shared_ptr<LiveVersion>& live, const View& view, const DifferenceSpec& has) {
  // Asked before a chain is made, or an unknown average would push out one that is in use.
  RETURN_IF_ERROR(live->Form(view, kernels::FindCodec("f32")->id).status());
  return ChainOf(ShownAs(view, *live->version()), has.codec)->Read(live, has);
}

std::shared_ptr<DifferenceChain> Differences::ChainOf(const View& view, int codec) {
  MutexLock lock(&mu_);
  const auto found = std::find_if(chains_.begin(), chains_.end(), [&](const Entry& entry) {
    return entry.chain->view() == view && entry.chain->codec() == codec;
  });
  if (found != chains_.end()) {
    chains_.splice(chains_.begin(), chains_, found);
  } else {
    chains_.push_front({std::make_shared<DifferenceChain>(view, codec, next_id_++, memory_)});
    if (chains_.size() > kChainsMax) chains_.pop_back();
  }
  chains_.front().idle_versions = 0;
  return chains_.front().chain;
}

void Differences::Age() {
  MutexLock lock(&mu_);
  for (Entry& entry : chains_) ++entry.idle_versions;
  chains_.remove_if([](const Entry& entry) { return entry.idle_versions > kIdleVersions; });
}

uint64_t Differences::held_bytes() const {
  MutexLock lock(&mu_);
  uint64_t bytes = 0;
  for (const Entry& entry : chains_) bytes += entry.chain->held_bytes();
  return bytes;
}

}  // namespace stepback
