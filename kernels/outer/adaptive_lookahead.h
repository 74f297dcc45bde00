// Lookahead with the step size that minimises a quadratic model of the loss along the way from the slow to
// the fast weights (Zhang et al. 2019, proposition 1). With d = phi - theta_k and the curvature A,
//   alpha* = (phi - theta*)^T A d / (d^T A d),
// where A is the inner rule's own second moment (the diagonal empirical Fisher matrix) and the optimum is
// estimated from the newest gradient g, taken at theta_{k-1}: theta* = theta_{k-1} - A^-1 g. So
//   alpha = clip(sum((A (phi - theta_{k-1}) + g) d) / sum(A d^2), alpha_low, 1),
// and the fixed alpha where the denominator says nothing (docs/decisions/0096).
#pragma once

#include "kernels/outer/lookahead.h"

namespace stepback::kernels {

struct AdaptiveLookahead {
  static constexpr std::string_view kName = "adaptive_lookahead";
  static constexpr std::string_view kCitation = "Zhang et al. 2019 (Lookahead), proposition 1";
  static constexpr std::array<SlotInfo, 0> kSlots = {};
  static constexpr std::array<HyperInfo, 2> kHypers = {{
      {"alpha", 0.5, 0, 1, "slow weights step size where there is no curvature to go by"},
      {"alpha_low", 0.2, 0, 1, "least step size that the curvature may ask for; the most is 1"},
  }};
  using Values = HyperValues<AdaptiveLookahead>;
  static constexpr int kMergeSums = 2;  // the quotient's parts
  // Below the smallest normal fp64 number a quotient means nothing.
  static constexpr double kLeastCurvature = 2.2250738585072014e-308;

  struct Scalars {
    float alpha, alpha_low;
  };
  static Scalars Prepare(Values h, int64_t /*step*/, double* /*carry*/) {
    return {float(h["alpha"]), float(h["alpha_low"])};
  }

  // Elements: gradient and curvature, the fast weights before and after the step, the slow weights.
  PS_HD static void MergeTerms(float g, float curvature, float before, float after, float phi,
                               double (&sums)[kMergeSums]) {
    const double d = double{phi} - double{after};
    sums[0] = (double{curvature} * (double{phi} - double{before}) + double{g}) * d;
    sums[1] = double{curvature} * d * d;
  }

  // A quotient that is no number (an infinity in the step) changes nothing: the merge finds the bad element.
  static double Alpha(double fixed, double low, const double* sums) {
    if (!(sums[1] > kLeastCurvature)) return fixed;
    const double best = sums[0] / sums[1];
    if (best < low) return low;
    return best > 1 ? 1 : best == best ? best : fixed;
  }
  static double MergeFinish(Scalars& s, const double* sums) {
    const double alpha = Alpha(double{s.alpha}, double{s.alpha_low}, sums);
    s.alpha = static_cast<float>(alpha);
    return alpha;
  }

  PS_HD static void Step(const Scalars& s, float delta, float& w) { Lookahead::Step({s.alpha}, delta, w); }
  PS_HD static void Merge(const Scalars& s, float theta, float& w) { Lookahead::Merge({s.alpha}, theta, w); }
};

}  // namespace stepback::kernels
