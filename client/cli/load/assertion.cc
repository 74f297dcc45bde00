#include "client/cli/load/assertion.h"

#include <fmt/format.h>

#include <cstdlib>
#include <functional>
#include <map>

#include "client/cli/units.h"
#include "server/base/status_macros.h"

namespace stepback::cli {
namespace {

using Metric = std::function<double(const LoadResult&)>;

const std::map<std::string, Metric>& Metrics() {
  static const std::map<std::string, Metric> kMetrics = {
      {"p50", [](const LoadResult& r) { return r.latency.Quantile(0.5); }},
      {"p90", [](const LoadResult& r) { return r.latency.Quantile(0.9); }},
      {"p95", [](const LoadResult& r) { return r.latency.Quantile(0.95); }},
      {"p99", [](const LoadResult& r) { return r.latency.Quantile(0.99); }},
      {"p999", [](const LoadResult& r) { return r.latency.Quantile(0.999); }},
      {"mean", [](const LoadResult& r) { return r.latency.mean(); }},
      {"max", [](const LoadResult& r) { return r.latency.max(); }},
      {"errors", [](const LoadResult& r) { return static_cast<double>(r.errors); }},
      {"requests", [](const LoadResult& r) { return static_cast<double>(r.requests); }},
      {"resyncs", [](const LoadResult& r) { return static_cast<double>(r.resyncs); }},
      {"rate", [](const LoadResult& r) { return r.PerSecond(r.requests - r.errors); }},
      {"sent", [](const LoadResult& r) { return r.PerSecond(r.payload_bytes_sent); }},
      {"received", [](const LoadResult& r) { return r.PerSecond(r.payload_bytes_received); }},
  };
  return kMetrics;
}

// A number, or a duration with its unit.
absl::StatusOr<double> ParseBound(const std::string& text) {
  char* end = nullptr;
  const double number = std::strtod(text.c_str(), &end);
  if (end != text.c_str() && *end == '\0') return number;
  return ParseSeconds(text);
}

absl::StatusOr<Assertion> ParseOne(const std::string& text) {
  const size_t begin = text.find_first_of("<>=!");
  const size_t end = begin == std::string::npos ? begin : text.find_first_not_of("<>=!", begin);
  if (end == std::string::npos) {
    return absl::InvalidArgumentError(fmt::format("assertion '{}' is not of the form p99<0.5s", text));
  }
  Assertion assertion{
      .text = text, .metric = text.substr(0, begin), .comparison = text.substr(begin, end - begin)};
  if (!Metrics().contains(assertion.metric)) {
    std::string known;
    for (const auto& [name, metric] : Metrics()) known += " " + name;
    return absl::InvalidArgumentError(
        fmt::format("assertion '{}': '{}' is not one of:{}", text, assertion.metric, known));
  }
  const std::string& c = assertion.comparison;
  if (c != "<" && c != "<=" && c != ">" && c != ">=" && c != "==" && c != "!=") {
    return absl::InvalidArgumentError(fmt::format("assertion '{}': '{}' is no comparison", text, c));
  }
  ASSIGN_OR_RETURN(assertion.bound, ParseBound(text.substr(end)));
  return assertion;
}

}  // namespace

absl::StatusOr<std::vector<Assertion>> ParseAssertions(const std::string& text) {
  std::vector<Assertion> assertions;
  for (size_t begin = 0; begin < text.size();) {
    const size_t comma = std::min(text.find(',', begin), text.size());
    ASSIGN_OR_RETURN(Assertion assertion, ParseOne(text.substr(begin, comma - begin)));
    assertions.push_back(std::move(assertion));
    begin = comma + 1;
  }
  return assertions;
}

double MetricOf(const LoadResult& result, const std::string& metric) { return Metrics().at(metric)(result); }

bool Holds(const Assertion& assertion, double actual) {
  const std::string& c = assertion.comparison;
  if (c == "<") return actual < assertion.bound;
  if (c == "<=") return actual <= assertion.bound;
  if (c == ">") return actual > assertion.bound;
  if (c == ">=") return actual >= assertion.bound;
  return (actual == assertion.bound) == (c == "==");
}

}  // namespace stepback::cli
