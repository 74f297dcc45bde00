// Adagrad with a decaying rate and coupled weight decay, as torch.optim.Adagrad.
#pragma once

#include "kernels/rule.h"

namespace stepback::kernels {

struct Adagrad {
  static constexpr std::string_view kName = "adagrad";
  static constexpr std::string_view kCitation = "torch.optim.Adagrad; Duchi et al. 2011, section 1.1";
  static constexpr std::array<SlotInfo, 1> kSlots = {{{"sum", 0.0f, false}}};
  static constexpr std::array<HyperInfo, 5> kHypers = {{
      {"lr", 1e-2, 0, kFloatMax, "learning rate"},
      {"lr_decay", 0, 0, kFloatMax, "step t uses lr / (1 + (t - 1) lr_decay)"},
      {"weight_decay", 0, 0, kFloatMax, "L2 penalty, added to the gradient"},
      {"initial_accumulator_value", 0, 0, kFloatMax, "where the sum of squared gradients starts"},
      {"eps", 1e-10, 0, kFloatMax, "added to the root of the sum"},
  }};
  using Values = HyperValues<Adagrad>;

  struct Scalars {
    float neg_lr, weight_decay, start, eps;
  };

  // The slot starts at zero; the first step brings the initial value in.
  static Scalars Prepare(Values h, int64_t step, double* /*carry*/) {
    const double lr = h["lr"] / (1 + double(step - 1) * h["lr_decay"]);
    const double start = step <= 1 ? h["initial_accumulator_value"] : 0;
    return {float(-lr), float(h["weight_decay"]), float(start), float(h["eps"])};
  }

  // g += lambda w; s += g^2; w -= lr / (1 + (t - 1) lr_decay) g / (sqrt(s) + eps)
  PS_HD static void Step(const Scalars& s, float g, float& w, float& sum) {
    g = Fma(s.weight_decay, w, g);
    sum = Fma(g, g, sum + s.start);
    w = Fma(s.neg_lr, g / (Sqrt(sum) + s.eps), w);
  }
};

}  // namespace stepback::kernels
