// FedAsync: the slow weights move a share alpha towards the weights that a worker sends, phi = (1 - alpha_t)
// phi
// + alpha_t theta, alpha_t = alpha x the push's staleness weight. Unlike a delta, which is relative to the
// worker's base, this pulls towards theta from wherever phi has gone meanwhile.
#pragma once

#include "kernels/outer/lookahead.h"

namespace stepback::kernels {

struct FedAsync {
  static constexpr std::string_view kName = "fed_async";
  static constexpr std::string_view kCitation = "Xie et al. 2019 (FedAsync), algorithm 1";
  static constexpr bool kTakesWeights = true;
  static constexpr std::array<SlotInfo, 0> kSlots = {};
  static constexpr std::array<HyperInfo, 1> kHypers = {{
      {"alpha", 0.6, 0, 1, "mixing weight of a fresh push; stale ones count by the staleness weight"},
  }};
  using Values = HyperValues<FedAsync>;
  using Scalars = Lookahead::Scalars;

  static Scalars Prepare(Values h, int64_t /*step*/, double* /*carry*/) { return {float(h["alpha"])}; }

  PS_HD static void Step(const Scalars& s, float delta, float& w) { Lookahead::Step(s, delta, w); }
  PS_HD static void Merge(const Scalars& s, float theta, float& w) { Lookahead::Merge(s, theta, w); }
};

}  // namespace stepback::kernels
