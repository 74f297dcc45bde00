// Muon: momentum whose matrix is replaced by the nearest orthogonal one, by five Newton-Schulz steps.
#pragma once

#include <cmath>
#include <cstdio>

#include "kernels/rule.h"
#include "kernels/tensor_args.h"

namespace stepback::kernels {

struct Muon {
  static constexpr std::string_view kName = "muon";
  static constexpr std::string_view kCitation = "torch.optim.Muon; Jordan et al. 2024 (Muon)";
  static constexpr std::array<SlotInfo, 1> kSlots = {{{"momentum_buffer", 0.0f, true}}};
  static constexpr std::array<HyperInfo, 7> kHypers = {{
      {"lr", 1e-3, 0, kFloatMax, "learning rate"},
      {"momentum", 0.95, 0, 1, "share of the buffer that stays", false, true},
      {"weight_decay", 0.1, 0, kFloatMax, "decoupled: the weights shrink by lr x weight_decay first"},
      {"nesterov", 1, 0, 1, "1: gradient and buffer are mixed once more", false, false, true},
      {"eps", 1e-7, 0, kFloatMax, "least norm that the matrix is divided by"},
      {"ns_steps", 5, 0, 99, "Newton-Schulz steps", false, false, true},
      {"match_rms_adamw", 0, 0, 1, "rate x 0: sqrt(max(1, rows / cols)), 1: 0.2 sqrt(max(rows, cols))", false,
       false, true},
  }};
  using Values = HyperValues<Muon>;

  struct Scalars {
    double lr, eps;
    float rest;      // 1 - momentum
    float momentum;  // of the second mix; 1 without nesterov: the buffer alone
    float keep;      // 1 - lr lambda
    int steps;
    bool matches_rms;
  };

  // Coefficients of the iteration.
  static constexpr float kA = 3.4445f, kB = -4.7750f, kC = 2.0315f;

  static Scalars Prepare(Values h, int64_t /*step*/, double* /*carry*/) {
    return {h["lr"],
            h["eps"],
            float(1 - h["momentum"]),
            h["nesterov"] != 0 ? float(h["momentum"]) : 1.0f,
            float(1 - h["lr"] * h["weight_decay"]),
            int(h["ns_steps"]),
            h["match_rms_adamw"] != 0};
  }

  static bool Applies(const uint64_t* /*dims*/, size_t rank, char* error, size_t error_size) {
    if (rank == 2) return true;
    std::snprintf(
        error, error_size,
        "works on matrices (rank 2) only; put the tensor in a group with another inner rule, such as "
        "adamw");
    return false;
  }

  // X, its transpose and its successor, and two square matrices of the shorter side.
  static size_t Workspace(const uint64_t* dims, size_t /*rank*/) {
    const size_t side = dims[0] < dims[1] ? dims[0] : dims[1];
    return (3 * dims[0] * dims[1] + 2 * side * side) * sizeof(float);
  }

  // B = lerp(B, g, 1 - mu); U = nesterov ? lerp(g, B, mu) : B; w = (1 - lr lambda) w - lr f NewtonSchulz(U)
  PS_HD static void StepTensor(const TensorArgs& a) {
    const Scalars s = *static_cast<const Scalars*>(a.scalars);
    const size_t rows = a.dims[0], cols = a.dims[1];
    float* const u = a.input;
    float* const b = a.slots[0];
#pragma GCC ivdep
    for (size_t i = 0; i < a.count; ++i) {
      b[i] = Lerp(b[i], u[i], s.rest);
      u[i] = Lerp(u[i], b[i], s.momentum);
    }
    const bool tall = rows > cols;
    const float* const x = Orthogonal(s, a, tall ? cols : rows, tall ? rows : cols, tall);
    const float step = float(-s.lr * Factor(s, rows, cols));
    float* const w = a.weights;
    for (size_t r = 0; r < rows; ++r) {
#pragma GCC ivdep
      for (size_t c = 0; c < cols; ++c) {
        float& each = w[r * cols + c];
        each = Fma(step, tall ? x[c * rows + r] : x[r * cols + c], s.keep * each);
      }
    }
  }

  PS_HD static double Factor(const Scalars& s, size_t rows, size_t cols) {
    const double r = static_cast<double>(rows), c = static_cast<double>(cols);
    if (s.matches_rms) return 0.2 * std::sqrt(r > c ? r : c);
    return std::sqrt(r > c ? r / c : 1.0);
  }

  PS_HD static void Transpose(const float* in, size_t rows, size_t cols, float* out) {
    for (size_t r = 0; r < rows; ++r) {
      for (size_t c = 0; c < cols; ++c) out[c * rows + r] = in[r * cols + c];
    }
  }

  // side <= length. X = U / max(|U|, eps), upright; steps x: A = X X', X = a X + (b A + c A^2) X.
  PS_HD static const float* Orthogonal(const Scalars& s, const TensorArgs& a, size_t side, size_t length,
                                       bool tall) {
    float* x = a.workspace;
    float* next = x + a.count;
    float* const turned = next + a.count;
    float* const gram = turned + a.count;
    float* const square = gram + side * side;
    const double norm = std::sqrt(a.ops.squares(a.input, a.count));
    const float divisor = float(norm > s.eps ? norm : s.eps);
    // A zero matrix stays zero even where eps is zero too.
    const bool zero = divisor == 0.0f;
#pragma GCC ivdep
    for (size_t i = 0; i < a.count; ++i) next[i] = zero ? 0.0f : a.input[i] / divisor;
    if (tall) {
      Transpose(next, length, side, x);
    } else {
      float* const swapped = x;
      x = next;
      next = swapped;
    }
    for (int step = 0; step < s.steps; ++step) {
      Transpose(x, side, length, turned);
      a.ops.multiply(x, turned, side, length, side, gram);
      a.ops.multiply(gram, gram, side, side, side, square);
#pragma GCC ivdep
      for (size_t i = 0; i < side * side; ++i) square[i] = Fma(kC, square[i], kB * gram[i]);
      a.ops.multiply(square, x, side, side, length, next);
#pragma GCC ivdep
      for (size_t i = 0; i < a.count; ++i) next[i] = Fma(kA, x[i], next[i]);
      float* const swapped = x;
      x = next;
      next = swapped;
    }
    return x;
  }
};

}  // namespace stepback::kernels
