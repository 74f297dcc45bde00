// Every series the server can export, in one table: name, type, help, labels, buckets.
//
// /metrics, docs/metrics.md and the checks of dashboards and alerts all read this table; adding a metric is
// one row in metric_table.cc and the place that sets it. Thread: any; the table never changes.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace stepback::telemetry {

enum class MetricType { kCounter, kGauge, kHistogram };

struct LabelSpec {
  std::string_view name;
  std::span<const std::string_view> values;  // empty: open; otherwise every value has a series from the start
};

struct MetricRow {
  std::string_view name;
  MetricType type;
  std::vector<LabelSpec> labels;  // open ones first
  std::span<const double> buckets;
  std::string_view help;  // one sentence with the unit

  size_t OpenLabelCount() const;
  size_t SeriesPerBlock() const;  // product of the closed labels' sizes; 1 without any
};

std::span<const MetricRow> MetricTable();

// The row named `name`; ends the program when there is none, as only our own code names metrics.
const MetricRow& FindMetric(std::string_view name);

// The table as Markdown, as it stands in docs/metrics.md.
std::string MetricTableMarkdown();

}  // namespace stepback::telemetry
