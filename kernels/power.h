// x^p for host scalars: decaying rates, polynomial weights. Additions, multiplications and divisions alone,
// so that a replay on another CPU computes the same bits; libm picks its instructions by CPU (decisions 22;
// tests/tidy/host_math.py keeps it out).
// Pure, any thread.
#pragma once

#include <cmath>
#include <limits>

namespace stepback::kernels {

namespace power_internal {

inline constexpr double kLn2 = 0.69314718055994530942;
inline constexpr double kLn2High = 0x1.62e42fefa3800p-1;  // 42 bits: n kLn2High is exact for |n| < 2^11
inline constexpr double kLn2Low = 0x1.ef35793c76730p-45;

// ln m = 2 atanh((m - 1) / (m + 1)) for m in [sqrt(1/2), sqrt(2)).
inline double LogOfMantissa(double m) {
  const double z = (m - 1) / (m + 1), square = z * z;
  double sum = 0;
  for (int k = 25; k >= 1; k -= 2) sum = 1.0 / k + square * sum;
  return 2 * z * sum;
}

// The Taylor series, enough of it for |r| <= ln(2) / 2.
inline double ExpOfFraction(double r) {
  double sum = 1;
  for (int k = 17; k >= 1; --k) sum = 1 + r / k * sum;
  return sum;
}

}  // namespace power_internal

// x >= 0 and p finite. Relative error below 1e-15 (2 + |p ln x|); 0^0 = 1, overflow is infinity, underflow 0.
inline double Power(double x, double p) {
  using namespace power_internal;  // NOLINT(build/namespaces)
  if (p == 0 || x == 1) return 1;
  if (p == 1) return x;
  if (p == 2) return x * x;
  if (x == 0) return p > 0 ? 0 : std::numeric_limits<double>::infinity();
  int exponent = 0;
  double mantissa = std::frexp(x, &exponent);  // in [1/2, 1)
  if (mantissa < 0.70710678118654752) mantissa *= 2, --exponent;
  const double y = p * (exponent * kLn2 + LogOfMantissa(mantissa));
  if (y > 710) return std::numeric_limits<double>::infinity();
  if (y < -746) return 0;
  const double n = std::floor(y / kLn2 + 0.5);
  return std::ldexp(ExpOfFraction((y - n * kLn2High) - n * kLn2Low), static_cast<int>(n));
}

}  // namespace stepback::kernels
