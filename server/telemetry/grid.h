// A handle on the series of one block, addressed by the closed labels' enums in table order. Copying a handle
// shares the series. Thread: any; the layout never changes after construction.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include "server/base/check.h"

namespace stepback::telemetry {

struct GridBase {
  virtual ~GridBase() = default;
};

template <typename T>
struct GridSeries final : GridBase {
  std::vector<std::unique_ptr<T>> series;
  std::vector<size_t> sizes;  // of the closed labels
};

template <typename T>
class Grid {
 public:
  Grid() = default;
  explicit Grid(std::shared_ptr<GridSeries<T>> data) : data_(std::move(data)) {}

  template <typename... Labels>
  T& operator()(Labels... labels) const {
    const std::array<size_t, sizeof...(Labels)> at = {static_cast<size_t>(labels)...};
    SB_CHECK(at.size() == data_->sizes.size(), "%zu labels for %zu", at.size(), data_->sizes.size());
    size_t index = 0;
    for (size_t i = 0; i < at.size(); ++i) {
      SB_CHECK(at[i] < data_->sizes[i], "label %zu has no value %zu", i, at[i]);
      index = index * data_->sizes[i] + at[i];
    }
    return *data_->series[index];
  }

 private:
  std::shared_ptr<GridSeries<T>> data_;
};

}  // namespace stepback::telemetry
