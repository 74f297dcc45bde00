#include "server/config/nearest.h"

#include <fmt/format.h>

#include <algorithm>

namespace stepback {

size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<std::vector<size_t>> cost(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) cost[i][0] = i;
  for (size_t j = 0; j <= b.size(); ++j) cost[0][j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    for (size_t j = 1; j <= b.size(); ++j) {
      cost[i][j] =
          std::min({cost[i - 1][j] + 1, cost[i][j - 1] + 1, cost[i - 1][j - 1] + (a[i - 1] != b[j - 1])});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) cost[i][j] = std::min(cost[i][j], cost[i - 2][j - 2] + 1);
    }
  }
  return cost[a.size()][b.size()];
}

std::string Nearest(std::string_view name, const std::vector<std::string>& names) {
  const std::string* best = nullptr;
  size_t least = 0;
  for (const std::string& known : names) {
    const size_t limit = known.size() / 3;
    // Each letter too many or too few is a step, and the distance takes the product of both lengths.
    if (name.size() > known.size() + limit || name.size() + limit < known.size()) continue;
    const size_t distance = EditDistance(name, known);
    if (distance > limit || (best != nullptr && distance >= least)) continue;
    best = &known;
    least = distance;
  }
  if (best != nullptr) return *best;
  const size_t dot = name.rfind('.');
  const std::string_view tail = dot == std::string_view::npos ? name : name.substr(dot + 1);
  for (const std::string& known : names) {
    if (known.ends_with(fmt::format(".{}", tail))) return known;
  }
  return "";
}

std::string DidYouMean(std::string_view name, const std::vector<std::string>& names) {
  const std::string nearest = Nearest(name, names);
  return nearest.empty() ? "" : fmt::format(" (did you mean '{}'?)", nearest);
}

}  // namespace stepback
