#include <fmt/ranges.h>

#include "server/telemetry/metric_table.h"

namespace stepback::telemetry {
namespace {

std::string_view TypeName(MetricType type) {
  switch (type) {
    case MetricType::kCounter:
      return "counter";
    case MetricType::kGauge:
      return "gauge";
    case MetricType::kHistogram:
      return "histogram";
  }
  return "";
}

std::string LabelText(const LabelSpec& label) {
  if (label.values.empty()) return fmt::format("`{}`", label.name);
  return fmt::format("`{}`: {}", label.name, fmt::join(label.values, " "));
}

std::string LabelsText(const MetricRow& row) {
  std::vector<std::string> labels;
  for (const LabelSpec& label : row.labels) labels.push_back(LabelText(label));
  return fmt::format("{}", fmt::join(labels, "; "));
}

}  // namespace

std::string MetricTableMarkdown() {
  std::string out = "| Name | Type | Labels | Meaning |\n|---|---|---|---|\n";
  for (const MetricRow& row : MetricTable()) {
    const std::string buckets =
        row.buckets.empty() ? "" : fmt::format(" Buckets: {}.", fmt::join(row.buckets, " "));
    out += fmt::format("| `{}` | {} | {} | {}{} |\n", row.name, TypeName(row.type), LabelsText(row), row.help,
                       buckets);
  }
  return out;
}

}  // namespace stepback::telemetry
