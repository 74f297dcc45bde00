// Adafactor: second moments of a matrix kept as one number per row and one per column, steps relative to the
// size of the weights.
#pragma once

#include <cmath>

#include "kernels/power.h"
#include "kernels/rule.h"
#include "kernels/tensor_args.h"

namespace stepback::kernels {

struct Adafactor {
  static constexpr std::string_view kName = "adafactor";
  static constexpr std::string_view kCitation = "torch.optim.Adafactor; Shazeer and Stern 2018, algorithm 4";
  // As long as the weights for a vector. Of a matrix only the first rows + cols elements are used: row
  // moments, then column moments (docs/decisions/0065-rules-on-whole-tensors.md).
  static constexpr std::array<SlotInfo, 1> kSlots = {{{"second_moments", 0.0f, false}}};
  static constexpr std::array<HyperInfo, 6> kHypers = {{
      {"lr", 1e-2, 0, kFloatMax, "largest relative step size; it falls with 1 / sqrt(t)"},
      {"decay_exponent", 0.8, 0, kFloatMax, "the second moments' newest share is t^-x (torch: -beta2_decay)"},
      {"eps1", 0x1p-23, 0, kFloatMax, "least mean of the row moments; its square is the least second moment"},
      {"eps2", 1e-3, 0, kFloatMax, "least root mean square of the weights that a step is relative to"},
      {"d", 1, 0, kFloatMax, "largest root mean square of an update before it is scaled down"},
      {"weight_decay", 0, 0, kFloatMax, "decoupled: the weights shrink by lr x weight_decay first"},
  }};
  using Values = HyperValues<Adafactor>;

  struct Scalars {
    double rate;  // min(lr, t^-1/2)
    double eps2, d;
    float share;        // t^-x
    float eps1, floor;  // eps1, eps1^2
    float keep;         // 1 - lr lambda
  };

  static Scalars Prepare(Values h, int64_t step, double* /*carry*/) {
    const double t = static_cast<double>(step), lr = h["lr"], root = 1 / std::sqrt(t);
    return {lr < root ? lr : root,
            h["eps2"],
            h["d"],
            float(Power(t, -h["decay_exponent"])),
            float(h["eps1"]),
            float(h["eps1"] * h["eps1"]),
            float(1 - lr * h["weight_decay"])};
  }

  // Sums of rows and columns.
  static size_t Workspace(const uint64_t* dims, size_t rank) {
    return rank < 2 ? 0 : (dims[rank - 2] + dims[rank - 1]) * sizeof(double);
  }

  // a = max(eps2, RMS(w)) rate; w *= 1 - lr lambda; U = g / sqrt(max(V, eps1^2)); w -= a U / max(1, RMS(U) /
  // d)
  PS_HD static void StepTensor(const TensorArgs& a) {
    const Scalars s = *static_cast<const Scalars*>(a.scalars);
    const double count = static_cast<double>(a.count);
    const double size = std::sqrt(a.ops.squares(a.weights, a.count) / count);
    Normalise(s, a);
    const double over = std::sqrt(a.ops.squares(a.input, a.count) / count) / s.d;
    const float step = float(-(size > s.eps2 ? size : s.eps2) * s.rate / (over > 1 ? over : 1));
    float* const w = a.weights;
    const float* const u = a.input;
#pragma GCC ivdep
    for (size_t i = 0; i < a.count; ++i) w[i] = Fma(step, u[i], s.keep * w[i]);
  }

  // The input becomes U, the moments move on. As torch: the last two dimensions are factored, the others are
  // so many matrices.
  PS_HD static void Normalise(const Scalars& s, const TensorArgs& a) {
    if (a.rank < 2) return NormaliseVector(s, a.count, a.input, a.slots[0]);
    const size_t rows = a.dims[a.rank - 2], cols = a.dims[a.rank - 1];
    const size_t stride = rows * cols;
    for (size_t at = 0; at < a.count; at += stride) {
      if (rows == 1 || cols == 1) {
        NormaliseLine(s, a.ops, stride, a.input + at, a.slots[0] + at);
      } else {
        NormaliseMatrix(s, a, rows, cols, a.input + at, a.slots[0] + at);
      }
    }
  }

  PS_HD static float Root(const Scalars& s, float second) { return Sqrt(Max(second, s.floor)); }

  // V = lerp(V, g^2, share)
  PS_HD static void NormaliseVector(const Scalars& s, size_t count, float* g, float* v) {
#pragma GCC ivdep
    for (size_t i = 0; i < count; ++i) {
      v[i] = Lerp(v[i], g[i] * g[i], s.share);
      g[i] = g[i] / Root(s, v[i]);
    }
  }

  // One row or one column: its one other moment is the mean of the moments kept.
  PS_HD static void NormaliseLine(const Scalars& s, const TensorOps&, size_t count, float* g, float* v) {
    double sum = 0;
    for (size_t i = 0; i < count; ++i) {
      v[i] = Lerp(v[i], g[i] * g[i], s.share);
      sum += v[i];
    }
    const float mean = float(sum / static_cast<double>(count));
    const float scale = mean / Max(mean, s.eps1);
#pragma GCC ivdep
    for (size_t i = 0; i < count; ++i) g[i] = g[i] / Root(s, v[i] * scale);
  }

  // R = lerp(R, mean of the row's g^2), C likewise; V = R C / max(mean R, eps1)
  PS_HD static void NormaliseMatrix(const Scalars& s, const TensorArgs& a, size_t rows, size_t cols, float* g,
                                    float* moments) {
    auto* const row_sums = reinterpret_cast<double*>(a.workspace);
    double* const column_sums = row_sums + rows;
    a.ops.row_squares(g, rows, cols, row_sums);
    a.ops.column_squares(g, rows, cols, column_sums);
    float* const row = moments;
    float* const column = moments + rows;
    double total = 0;
    for (size_t r = 0; r < rows; ++r) {
      row[r] = Lerp(row[r], float(row_sums[r] / static_cast<double>(cols)), s.share);
      total += row[r];
    }
    for (size_t c = 0; c < cols; ++c) {
      column[c] = Lerp(column[c], float(column_sums[c] / static_cast<double>(rows)), s.share);
    }
    const float mean = Max(float(total / static_cast<double>(rows)), s.eps1);
    for (size_t r = 0; r < rows; ++r) {
      float* const line = g + r * cols;
      const float share = row[r] / mean;
#pragma GCC ivdep
      for (size_t c = 0; c < cols; ++c) line[c] = line[c] / Root(s, share * column[c]);
    }
  }
};

}  // namespace stepback::kernels
