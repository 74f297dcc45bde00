#include "server/telemetry/metric_store.h"

#include <prometheus/metric_family.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "server/base/check.h"

namespace stepback::telemetry {
namespace {

using prometheus::ClientMetric;

prometheus::MetricType ToPrometheus(MetricType type) {
  switch (type) {
    case MetricType::kCounter:
      return prometheus::MetricType::Counter;
    case MetricType::kGauge:
      return prometheus::MetricType::Gauge;
    case MetricType::kHistogram:
      return prometheus::MetricType::Histogram;
  }
  return prometheus::MetricType::Untyped;
}

void SetValue(double value, MetricType type, ClientMetric* out) {
  if (type == MetricType::kCounter) {
    out->counter.value = value;
  } else {
    out->gauge.value = value;
  }
}

void SetHistogram(const Histogram& histogram, ClientMetric* out) {
  const Histogram::Snapshot read = histogram.Read();
  out->histogram.sample_count = read.cumulative.back();
  out->histogram.sample_sum = read.sum;
  for (size_t i = 0; i < read.cumulative.size(); ++i) {
    const double bound = i < histogram.bounds().size() ? histogram.bounds()[i] : INFINITY;
    out->histogram.bucket.push_back({read.cumulative[i], bound});
  }
}

void SetFrom(const GridBase& grid, size_t index, MetricType type, ClientMetric* out) {
  if (const auto* counters = dynamic_cast<const GridSeries<Counter>*>(&grid)) {
    SetValue(static_cast<double>(counters->series[index]->Value()), type, out);
  } else if (const auto* gauges = dynamic_cast<const GridSeries<Gauge>*>(&grid)) {
    SetValue(gauges->series[index]->Value(), type, out);
  } else if (const auto* histograms = dynamic_cast<const GridSeries<Histogram>*>(&grid)) {
    SetHistogram(*histograms->series[index], out);
  }
}

// Labels of series `index` of a block: the open ones as given, the closed ones from the index, last label
// fastest.
std::vector<ClientMetric::Label> LabelsOf(const MetricRow& row, const std::vector<std::string>& open,
                                          size_t index) {
  std::vector<ClientMetric::Label> labels(row.labels.size());
  for (size_t i = row.labels.size(); i-- > 0;) {
    const LabelSpec& spec = row.labels[i];
    labels[i].name = spec.name;
    if (spec.values.empty()) {
      labels[i].value = open[i];  // open labels come first in every row
      continue;
    }
    labels[i].value = spec.values[index % spec.values.size()];
    index /= spec.values.size();
  }
  return labels;
}

bool Carries(const MetricRow& row, const std::vector<std::string>& open, const MetricStore::Match& match) {
  return std::all_of(match.begin(), match.end(), [&](const auto& wanted) {
    for (size_t i = 0; i < open.size(); ++i) {
      if (row.labels[i].name == wanted.first) return open[i] == wanted.second;
    }
    return false;
  });
}

std::vector<size_t> ClosedSizes(const MetricRow& row) {
  std::vector<size_t> sizes;
  for (const LabelSpec& label : row.labels) {
    if (!label.values.empty()) sizes.push_back(label.values.size());
  }
  return sizes;
}

}  // namespace

MetricStore::MetricStore() {
  for (const MetricRow& row : MetricTable()) {
    index_[row.name] = families_.size();
    families_.push_back({&row, {}});
  }
}

template <typename T, typename Make>
Grid<T> MetricStore::AddBlock(std::string_view name, std::vector<std::string> open, Export shown, Make make) {
  const MetricRow& row = FindMetric(name);
  SB_CHECK(open.size() == row.OpenLabelCount(), "%s: %zu label values", std::string(name).c_str(),
           open.size());
  auto grid = std::make_shared<GridSeries<T>>();
  grid->sizes = ClosedSizes(row);
  for (size_t i = 0; i < row.SeriesPerBlock(); ++i) grid->series.push_back(make(row));
  if (shown == Export::kYes) {
    MutexLock lock(&mu_);
    families_[index_.at(name)].blocks.push_back({std::move(open), grid});
  }
  return Grid<T>(std::move(grid));
}

Grid<Counter> MetricStore::Counters(std::string_view name, std::vector<std::string> open, Export shown) {
  return AddBlock<Counter>(name, std::move(open), shown,
                           [](const MetricRow&) { return std::make_unique<Counter>(); });
}

Grid<Gauge> MetricStore::Gauges(std::string_view name, std::vector<std::string> open, Export shown) {
  return AddBlock<Gauge>(name, std::move(open), shown,
                         [](const MetricRow&) { return std::make_unique<Gauge>(); });
}

Grid<Histogram> MetricStore::Histograms(std::string_view name, std::vector<std::string> open, Export shown) {
  return AddBlock<Histogram>(name, std::move(open), shown,
                             [](const MetricRow& row) { return std::make_unique<Histogram>(row.buckets); });
}

void MetricStore::Remove(const Match& match) {
  MutexLock lock(&mu_);
  for (Family& family : families_) RemoveFrom(&family, match);
}

void MetricStore::Remove(std::string_view name, const Match& match) {
  MutexLock lock(&mu_);
  RemoveFrom(&families_[index_.at(name)], match);
}

void MetricStore::RemoveFrom(Family* family, const Match& match) {
  std::erase_if(family->blocks, [&](const Block& block) { return Carries(*family->row, block.open, match); });
}

std::vector<prometheus::MetricFamily> MetricStore::Collect() const {
  std::vector<Family> families;
  {
    MutexLock lock(&mu_);  // copies handles only; the reading and formatting below is outside
    families = families_;
  }
  std::vector<prometheus::MetricFamily> result;
  for (const Family& family : families) {
    result.push_back(
        {std::string(family.row->name), std::string(family.row->help), ToPrometheus(family.row->type), {}});
    for (const Block& block : family.blocks) {
      for (size_t i = 0; i < family.row->SeriesPerBlock(); ++i) {
        ClientMetric& metric = result.back().metric.emplace_back();
        metric.label = LabelsOf(*family.row, block.open, i);
        SetFrom(*block.grid, i, family.row->type, &metric);
      }
    }
  }
  return result;
}

}  // namespace stepback::telemetry
