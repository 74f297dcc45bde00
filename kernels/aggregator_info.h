// Every aggregator (how the contributions of a round become one) as data: names, hyperparameters, what it
// needs to see and how it decides. Used to check specs, to run the reduction, for ListRules and for the docs.
// Built from kernels/aggregators.h; nothing here names an aggregator.
//
// An aggregator decides in up to two steps, both optional:
//   choose   over whole contributions: the share with which each takes part (left out, whole, or scaled down)
//   keep or combine   per element, over the sorted values of the contributions that take part; without
//   either: the mean
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "kernels/rule_info.h"

namespace stepback::kernels {

// What `choose` looks at. Anything but kNothing compares whole contributions, so each must hold every tensor.
enum class AggregatorInput : uint8_t { kNothing, kNorms, kDistances };

// Most contributions of one aggregation: distances are a square matrix, sorted columns are not.
inline constexpr size_t kContributionsMax = 4096;
inline constexpr size_t kComparedContributionsMax = 256;

// Figures of whole contributions: every trained and averaged element, after scaling by the contribution's
// weight. fp64, summed in the order of decisions 21 (32 lanes within a block of 1024, blocks in index order
// over the arena).
struct Measures {
  size_t count = 0;                  // contributions
  std::span<const double> norms_sq;  // squared norms
  std::span<const double>
      distances_sq;  // count x count, row by row; symmetric, never negative; kDistances only

  double distance_sq(size_t i, size_t j) const { return distances_sq[i * count + j]; }
};

// Places first .. first + count of the values of an element in ascending order.
struct Ranks {
  size_t first = 0;
  size_t count = 0;
};

struct AggregatorInfo {
  std::string_view name;
  int id;                     // index into Aggregators(); never stored
  std::string_view citation;  // paper and section of the definition
  std::span<const HyperInfo> hypers;
  AggregatorInput input;
  size_t most;  // contributions of one aggregation
  // Contributions below which the definition has no meaning with these values (krum: 2 f + 3).
  uint64_t (*least)(HyperSpan hypers);
  // Null: all take part. Else writes one share per contribution: 0 left out, 1 whole, between: scaled down.
  void (*choose)(HyperSpan hypers, const Measures& measures, std::span<double> shares);
  // At most one of the two. keep: the ranks whose mean is the result; all of them is the mean itself.
  // combine: the result from the sorted values of one element.
  Ranks (*keep)(HyperSpan hypers, size_t count);
  float (*combine)(HyperSpan hypers, const float* sorted, size_t count);

  bool robust() const { return choose != nullptr || keep != nullptr || combine != nullptr; }
  bool compares() const { return input != AggregatorInput::kNothing; }
};

std::span<const AggregatorInfo> Aggregators();
const AggregatorInfo* FindAggregator(std::string_view name);  // nullptr when unknown

}  // namespace stepback::kernels
