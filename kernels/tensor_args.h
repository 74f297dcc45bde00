// What a rule that works on whole tensors gets: one tensor, and the sums and products that the back-end
// lends.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/rule_info.h"

namespace stepback::kernels {

// Sums are taken in fp64 and rounded by whoever uses them. Matrices are row-major and dense.
struct TensorOps {
  // Sum of squares in the order of the norms (decision 21).
  double (*squares)(const float* x, size_t count);
  // sums[r] = squares of row r; sums[c] = squares of column c, rows in index order.
  void (*row_squares)(const float* x, size_t rows, size_t cols, double* sums);
  void (*column_squares)(const float* x, size_t rows, size_t cols, double* sums);
  // out (rows x cols) = a (rows x inner) b (inner x cols); out overlaps neither.
  void (*multiply)(const float* a, const float* b, size_t rows, size_t inner, size_t cols, float* out);
};

// Everything is the rule's own copy: it may overwrite the input, and leaves the next weights and slots in
// place of the present ones.
struct TensorArgs {
  const void* scalars = nullptr;
  const uint64_t* dims = nullptr;
  size_t rank = 0;
  size_t count = 0;        // elements, at least 1
  float* input = nullptr;  // the mean gradient
  float* weights = nullptr;
  float* slots[kMaxSlots] = {};  // `count` elements each; null: not used
  float* workspace = nullptr;    // RuleInfo::workspace bytes, 64-byte aligned, contents undefined
  TensorOps ops;
};

}  // namespace stepback::kernels
