#include "server/config/nearest.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <utility>

namespace stepback {

size_t EditDistance(std::string_view a, std::string_view b) {
  // Of the table of distances between beginnings, the rows that are still needed.
  std::vector<size_t> before(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    std::swap(before, last);
    std::swap(last, row);
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] != b[j - 1])});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) row[j] = std::min(row[j], before[j - 2] + 1);
    }
  }
  return row[b.size()];
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
