// Regularised nonlinear acceleration in its online form: where `rna` looks at the differences of successive
// slow weights, this one takes as residual the mean gradient of each interval between syncs (here the outer
// step's delta, in whose scale c does not change), and as iterate the last weights of the interval: x_i =
// phi_{i-1} - delta_i, before the outer rule. So momentum of the outer rule does not enter.
#pragma once

#include "kernels/rule.h"

namespace stepback::kernels {

struct OnlineRna {
  static constexpr std::string_view kName = "online_rna";
  static constexpr std::string_view kCitation =
      "Scieur et al. 2018, section 4 (nonlinear acceleration of deep networks)";
  static constexpr std::array<SlotInfo, 0> kSlots = {};
  static constexpr std::array<HyperInfo, 2> kHypers = {{
      {"memory", 10, 3, 10, "intervals that are kept: two arrays each", false, false, true},
      {"regularization", 1e-5, 1e-14, 1e6, "lambda; towards infinity the plain mean of the iterates"},
  }};
  using Values = HyperValues<OnlineRna>;
  static constexpr bool kKeepsDeltas = true;

  static int History(Values h) { return int(h["memory"]); }
};

}  // namespace stepback::kernels
