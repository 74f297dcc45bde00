// What Krum, Multi-Krum and Bulyan share: a contribution's score is the sum of its smallest squared distances
// to others.
#pragma once

#include "kernels/aggregate/aggregator.h"

namespace stepback::kernels {

inline constexpr double kAttackersMax = 126;  // 2 f + 3 <= kComparedContributionsMax

// Sum of the `neighbours` smallest squared distances from `of` to the other candidates; itself is left out by
// index, so duplicates of it count.
inline double KrumScore(const Measures& measures, std::span<const size_t> candidates, size_t of,
                        size_t neighbours) {
  std::vector<double> distances;
  for (const size_t other : candidates) {
    if (other != of) distances.push_back(measures.distance_sq(of, other));
  }
  std::sort(distances.begin(), distances.end());
  double score = 0;
  for (size_t i = 0; i < std::min(neighbours, distances.size()); ++i) score += distances[i];
  return score;
}

// The candidates by rising score, equal scores in reduction order: by (client id, sequence).
inline std::vector<size_t> ByKrumScore(const Measures& measures, const std::vector<size_t>& candidates,
                                       size_t neighbours) {
  std::vector<double> scores(measures.count);
  for (const size_t i : candidates) scores[i] = KrumScore(measures, candidates, i, neighbours);
  std::vector<size_t> order = candidates;
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return scores[a] < scores[b]; });
  return order;
}

inline std::vector<size_t> AllOf(const Measures& measures) {
  std::vector<size_t> all(measures.count);
  for (size_t i = 0; i < all.size(); ++i) all[i] = i;
  return all;
}

// n - f - 2, at least one.
inline size_t KrumNeighbours(size_t candidates, size_t attackers) {
  return candidates > attackers + 3 ? candidates - attackers - 2 : 1;
}

}  // namespace stepback::kernels
