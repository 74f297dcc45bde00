// Exponential moving average of the slow weights. With y_N = d y_{N-1} + (1 - d) x_N:
//   debias = 0: starts at y_0 = x_0, the weights that the model began with, and serves y_N;
//   debias = 1: starts at y_0 = 0 and serves y_N / (1 - d^N).
// The second form is kept as what it serves, m_N = m_{N-1} + (1 - d) / (1 - d^N) (x_N - m_{N-1}): the same
// numbers, readable without a pass, and exact where all samples are equal.
#pragma once

#include "kernels/average/mix.h"

namespace stepback::kernels {

struct Ema {
  static constexpr std::string_view kName = "ema";
  static constexpr std::string_view kCitation =
      "Kingma and Ba 2015, section 3 (bias correction); optax ema(debias)";
  static constexpr std::array<SlotInfo, 0> kSlots = {};
  static constexpr std::array<HyperInfo, 2> kHypers = {{
      {"decay", 0.999, 0, 1, "share of the average that a sample leaves; 0 serves the newest sample", false,
       true},
      {"debias", 1, 0, 1,
       "1: start at zero and correct for it; 0: start at the initial weights, without correction", false,
       false, true},
  }};
  using Values = HyperValues<Ema>;
  static constexpr int kCarry = 1;  // decay^N

  using Scalars = Share;
  static Scalars Prepare(Values h, int64_t /*sample*/, double* carry) {
    carry[0] *= h["decay"];
    const double share = 1 - h["decay"];
    return {float(h["debias"] != 0 ? share / (1 - carry[0]) : share)};
  }

  PS_HD static void Step(const Scalars& s, float x, float& average) { MixIn(s, x, average); }
};

}  // namespace stepback::kernels
