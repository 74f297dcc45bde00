// How much a push counts by its age, as data: weight(staleness) in (0, 1], 1 at staleness 0. A few functions
// by name with parameters, like schedules (algorithms.md 5.2). Pure.
//
//   ASSIGN_OR_RETURN(const StalenessWeight weight, StalenessWeight::Make(rounds, "spec.rounds"));
//   weight.At(3);
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "server/core/parameters.h"
#include "server/core/spec.h"

namespace stepback {

struct StalenessInfo {
  std::string_view name;
  std::string_view doc;
  std::string_view citation;
  std::span<const ParameterInfo> parameters;
  double (*weight)(const double* values, double staleness);
};

// Corrects a stale gradient in place of weighing it down; its "lambda" is not in the weight, which is 1.
inline constexpr std::string_view kDelayCompensated = "delay_compensated";
inline bool CompensatesDelay(const RoundSpec& rounds) { return rounds.staleness.name == kDelayCompensated; }

// By name, ascending.
std::span<const StalenessInfo> StalenessFunctions();

class StalenessWeight {
 public:
  static constexpr double kLeast = 1.1754943508222875e-38;  // the smallest normal fp32

  // INVALID_ARGUMENT on an unknown name or parameter, one out of bounds, or a function beside
  // staleness_exponent.
  static absl::StatusOr<StalenessWeight> Make(const RoundSpec& rounds, const std::string& field);

  // Of a function with parameters; `parameter` is one of them.
  double value(std::string_view parameter) const;
  // Never 0, which would mean that the push takes no part at all.
  double At(uint64_t staleness) const {
    return std::max(info_->weight(values_.data(), static_cast<double>(staleness)), kLeast);
  }

 private:
  const StalenessInfo* info_ = nullptr;
  std::vector<double> values_;
};

}  // namespace stepback
