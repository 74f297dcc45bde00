// Averaged SGD with a decaying rate, as the single-tensor path of torch.optim.ASGD (its foreach path has
// another rate). Trainers step on the weights; evaluators read their average.
#pragma once

#include <algorithm>

#include "kernels/power.h"
#include "kernels/rule.h"

namespace stepback::kernels {

struct Asgd {
  static constexpr std::string_view kName = "asgd";
  static constexpr std::string_view kCitation =
      "torch.optim.ASGD; Polyak and Juditsky 1992; Bottou 2010, section 5.1";
  static constexpr std::array<SlotInfo, 1> kSlots = {{{"ax", 0.0f, false, true}}};
  static constexpr int kEvalSlot = 0;
  static constexpr std::array<HyperInfo, 5> kHypers = {{
      {"lr", 1e-2, 0, kFloatMax, "learning rate of the first step"},
      {"lambd", 1e-4, 0, kFloatMax, "decay: the weights shrink by lambd x rate; the rate falls with it"},
      {"alpha", 0.75, 0, 1, "power of the rate: lr / (1 + lambd lr (t - 1))^alpha"},
      {"t0", 1e6, 0, kFloatMax, "steps after which averaging starts; until then the average is the weights"},
      {"weight_decay", 0, 0, kFloatMax, "L2 penalty, added to the gradient"},
  }};
  using Values = HyperValues<Asgd>;

  struct Scalars {
    float neg_eta, keep, mu, weight_decay;
  };

  // torch computes eta and mu after a step for the next one, so they are those of step t - 1.
  static Scalars Prepare(Values h, int64_t step, double* /*carry*/) {
    const double past = double(step - 1);
    const double eta = h["lr"] / Power(1 + h["lambd"] * h["lr"] * past, h["alpha"]);
    const double mu = 1 / std::max(1.0, past - h["t0"]);
    return {float(-eta), float(1 - h["lambd"] * eta), float(mu), float(h["weight_decay"])};
  }

  // g += weight_decay w; w = (1 - lambda eta) w - eta g; ax = lerp(ax, w, mu): the weights while mu = 1
  PS_HD static void Step(const Scalars& s, float g, float& w, float& ax) {
    g = Fma(s.weight_decay, w, g);
    w = Fma(s.neg_eta, g, s.keep * w);
    ax = Lerp(ax, w, s.mu);
  }
};

}  // namespace stepback::kernels
