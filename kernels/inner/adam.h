// Adam with L2 weight decay and the amsgrad flag, as torch.optim.Adam (eps outside the root, "eps, not
// eps-hat").
#pragma once

#include "kernels/inner/adam_step.h"

namespace stepback::kernels {

struct Adam : AdamStep {
  static constexpr std::string_view kName = "adam";
  static constexpr std::string_view kCitation =
      "torch.optim.Adam; Kingma and Ba 2015, algorithm 1; Reddi et al. 2018 (amsgrad)";
  static constexpr std::array<HyperInfo, 6> kHypers = {{
      {"lr", 1e-3, 0, kFloatMax, "learning rate"},
      {"beta1", 0.9, 0, 1, "decay of the first moment", false, true},
      {"beta2", 0.999, 0, 1, "decay of the second moment", false, true},
      {"eps", 1e-8, 0, kFloatMax, "added to the root of the second moment"},
      {"weight_decay", 0, 0, kFloatMax, "L2 penalty, added to the gradient"},
      {"amsgrad", 0, 0, 1, "1: divide by the largest second moment so far", false, false, true},
  }};
  using Values = HyperValues<Adam>;

  static uint32_t UsedSlots(Values h) { return h["amsgrad"] != 0 ? 0b111 : 0b011; }
  static Scalars Prepare(Values h, int64_t /*step*/, double* carry) {
    return AdamStep::Prepare(h, carry, /*decoupled=*/false);
  }
};

}  // namespace stepback::kernels
