// OCP E4M3 (the "fn" form: no infinity) under a block scale (fp8.h).
#pragma once

#include "kernels/codecs/fp8.h"

namespace stepback::kernels {

struct Fp8E4m3 : Fp8Block<Fp8E4m3> {
  static constexpr std::string_view kName = "fp8_e4m3";
  static constexpr std::string_view kErrorBound =
      "max(|x| x 2^-4, max|block| x 2^-18) (round to nearest even); blocks below 2^-100 are zero";
  static constexpr float kTop = 448.0f;
  static constexpr uint32_t kFirstReserved = 0x7f;  // NaN
  using Format = SmallFloat<3, -6>;
};

}  // namespace stepback::kernels
