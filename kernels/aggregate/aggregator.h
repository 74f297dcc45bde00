// The vocabulary in which an aggregator is written. It is a struct with
//   kName, kCitation, kHypers      as a rule has them (kernels/rule.h)
// and, where it has something to say (kernels/aggregator_info.h has the meaning):
//   kInput                         what Choose looks at (default: nothing)
//   Least(hypers)                  least contributions (default: 1)
//   Choose(hypers, measures, shares)
//   Keep(hypers, count), or Combine(hypers, sorted, count)
// Pure, fp64, on the host: an aggregator decides once per round or per element. Sums go in ascending order of
// their terms or of the contributions, so that the bits depend on neither threads nor instruction set.
// docs/howto/add_an_aggregator.md walks through one.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <vector>

#include "kernels/aggregator_info.h"
#include "kernels/rule.h"

namespace stepback::kernels {

// Of anything sorted: the middle value, or the mean of the two middle ones.
template <class Number>
double MedianOfSorted(const Number* sorted, size_t count) {
  return (double{sorted[(count - 1) / 2]} + double{sorted[count / 2]}) / 2;
}

}  // namespace stepback::kernels
