// cos(pi x) for host scalars: additions, multiplications and divisions alone, as power.h and for its reasons.
// Pure, any thread.
#pragma once

#include <cmath>

namespace stepback::kernels {

namespace cosine_internal {

inline constexpr double kPi = 3.14159265358979323846;

// Taylor series of cos and sin, enough of them for |a| <= pi / 4.
inline double CosOfSmall(double a) {
  const double square = a * a;
  double sum = 1;
  for (int k = 18; k >= 2; k -= 2) sum = 1 - square / (k * (k - 1)) * sum;
  return sum;
}
inline double SinOfSmall(double a) {
  const double square = a * a;
  double sum = 1;
  for (int k = 19; k >= 3; k -= 2) sum = 1 - square / (k * (k - 1)) * sum;
  return a * sum;
}

}  // namespace cosine_internal

// x finite. Absolute error below 4e-16; exact at whole and half numbers.
inline double CosPi(double x) {
  using namespace cosine_internal;        // NOLINT(build/namespaces)
  double turn = std::fmod(std::fabs(x), 2.0);  // this and every subtraction below is exact
  if (turn > 1) turn = 2 - turn;
  const bool negative = turn > 0.5;
  if (negative) turn = 1 - turn;
  const double value = turn <= 0.25 ? CosOfSmall(kPi * turn) : SinOfSmall(kPi * (0.5 - turn));
  return negative ? -value : value;
}

}  // namespace stepback::kernels
