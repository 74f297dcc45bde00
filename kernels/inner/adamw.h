// Adam with decoupled weight decay and the amsgrad flag, as torch.optim.AdamW.
#pragma once

#include "kernels/inner/adam_step.h"

namespace stepback::kernels {

struct AdamW : AdamStep {
  static constexpr std::string_view kName = "adamw";
  static constexpr std::string_view kCitation = "torch.optim.AdamW; Loshchilov and Hutter 2019, algorithm 2";
  static constexpr std::array<HyperInfo, 6> kHypers = {{
      {"lr", 1e-3, 0, kFloatMax, "learning rate"},
      {"beta1", 0.9, 0, 1, "decay of the first moment", false, true},
      {"beta2", 0.999, 0, 1, "decay of the second moment", false, true},
      {"eps", 1e-8, 0, kFloatMax, "added to the root of the second moment"},
      {"weight_decay", 1e-2, 0, kFloatMax, "decoupled: the weights shrink by lr x weight_decay first"},
      {"amsgrad", 0, 0, 1, "1: divide by the largest second moment so far", false, false, true},
  }};
  using Values = HyperValues<AdamW>;

  static uint32_t UsedSlots(Values h) { return h["amsgrad"] != 0 ? 0b111 : 0b011; }
  static Scalars Prepare(Values h, int64_t /*step*/, double* carry) {
    return AdamStep::Prepare(h, carry, /*decoupled=*/true);
  }
};

}  // namespace stepback::kernels
