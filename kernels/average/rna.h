// Regularised nonlinear acceleration: an extrapolation from the last iterates. Of the iterates x_0 .. x_k it
// serves sum c_i x_i, c = z / sum z, (G + lambda I) z = 1, G = R'R / |R'R|, the columns of R being x_{i+1} -
// x_i. Not an elementwise rule: the iterates are past slow weights, and the weights c are solved for on the
// host (server/core/extrapolation.h).
#pragma once

#include "kernels/rule.h"

namespace stepback::kernels {

struct Rna {
  static constexpr std::string_view kName = "rna";
  static constexpr std::string_view kCitation = "Scieur, d'Aspremont and Bach 2016, algorithm 1";
  static constexpr std::array<SlotInfo, 0> kSlots = {};
  static constexpr std::array<HyperInfo, 3> kHypers = {{
      {"memory", 10, 3, 10, "iterates that are kept: slow weights of the last syncs", false, false, true},
      {"regularization", 1e-5, 1e-14, 1e6, "lambda; towards infinity the plain mean of the iterates"},
      {"first", 0, 0, 1, "1: combine all iterates but the newest; 0: all but the oldest", false, false, true},
  }};
  using Values = HyperValues<Rna>;

  static int History(Values h) { return int(h["memory"]); }
};

}  // namespace stepback::kernels
