// OCP E5M2 under a block scale (fp8.h): three more binades than E4M3 and one bit less.
#pragma once

#include "kernels/codecs/fp8.h"

namespace stepback::kernels {

struct Fp8E5m2 : Fp8Block<Fp8E5m2> {
  static constexpr std::string_view kName = "fp8_e5m2";
  static constexpr std::string_view kErrorBound =
      "max(|x| x 2^-3, max|block| x 2^-32) (round to nearest even); blocks below 2^-100 are zero";
  static constexpr float kTop = 57344.0f;
  static constexpr uint32_t kFirstReserved = 0x7c;  // infinity and NaN
  using Format = SmallFloat<2, -14>;
};

}  // namespace stepback::kernels
