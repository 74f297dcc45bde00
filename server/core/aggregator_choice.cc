#include "server/core/aggregator_choice.h"

#include <fmt/format.h>

#include <cmath>
#include <string_view>

#include "server/base/status_macros.h"
#include "server/core/field_error.h"
#include "server/core/nearest_name.h"

namespace stepback {
namespace {

using kernels::AggregatorInfo;
using kernels::HyperInfo;

constexpr const char* kField = "spec.rounds.aggregator";

absl::Status UnknownAggregator(const std::string& name) {
  std::vector<std::string_view> names;
  for (const AggregatorInfo& info : kernels::Aggregators()) names.push_back(info.name);
  return FieldError(fmt::format("{}.name", kField), fmt::format("'{}' is no aggregator; did you mean '{}'?",
                                                                Clip(name, 64), NearestName(name, names)));
}

absl::Status UnknownHyper(const AggregatorInfo& info, const std::string& name, const std::string& field) {
  std::vector<std::string_view> names;
  for (const HyperInfo& hyper : info.hypers) names.push_back(hyper.name);
  if (names.empty()) {
    return FieldError(field, fmt::format("is no hyperparameter of aggregator '{}': it has none", info.name));
  }
  return FieldError(field, fmt::format("is no hyperparameter of aggregator '{}'; did you mean '{}'?",
                                       info.name, NearestName(name, names)));
}

absl::Status CheckBounds(const HyperInfo& hyper, double value, const std::string& field) {
  const bool above = hyper.min_open ? value > hyper.min : value >= hyper.min;
  const bool below = hyper.max_open ? value < hyper.max : value <= hyper.max;
  if (above && below && (!hyper.integer || value == std::floor(value))) return absl::OkStatus();
  return FieldError(
      field, fmt::format("is {}, expected {} in {}{}, {}{}", value, hyper.integer ? "an integer" : "a number",
                         hyper.min_open ? '(' : '[', hyper.min, hyper.max, hyper.max_open ? ')' : ']'));
}

absl::Status CheckExtras(const RuleSpec& spec) {
  if (!spec.options.empty()) {
    return FieldError(fmt::format("{}.options.{}", kField, spec.options.begin()->first),
                      fmt::format("is no option of aggregator '{}': it has none", spec.name));
  }
  if (spec.schedules.empty()) return absl::OkStatus();
  return FieldError(fmt::format("{}.schedules.{}", kField, spec.schedules.begin()->first),
                    "cannot follow a schedule; only rates of rules can");
}

// Contributions that a round has for sure when it closes, and the field that says so.
absl::Status CheckLeast(const RoundSpec& rounds, const AggregatorChoice& choice) {
  const bool sync = rounds.policy == RoundPolicy::kSync;
  const uint32_t sure = sync ? rounds.quorum : rounds.buffer_pushes;
  if (sure >= choice.least()) return absl::OkStatus();
  return FieldError(
      sync ? "spec.rounds.quorum" : "spec.rounds.buffer_pushes",
      fmt::format("is {}, expected at least {} for {}", sure, choice.least(), choice.Describe()));
}

absl::Status CheckMost(const RoundSpec& rounds, const AggregatorChoice& choice) {
  if (rounds.max_workers <= choice.info().most) return absl::OkStatus();
  return FieldError("spec.rounds.max_workers",
                    fmt::format("is {}, expected at most {} for {}", rounds.max_workers, choice.info().most,
                                choice.Describe()));
}

}  // namespace

absl::StatusOr<AggregatorChoice> AggregatorChoice::Make(const RuleSpec& spec) {
  AggregatorChoice choice;
  choice.info_ = kernels::FindAggregator(spec.name);
  if (choice.info_ == nullptr) return UnknownAggregator(spec.name);
  RETURN_IF_ERROR(CheckExtras(spec));
  const auto hypers = choice.info_->hypers;
  for (const HyperInfo& hyper : hypers) choice.hypers_.push_back(hyper.default_value);
  for (const auto& [name, value] : spec.values) {
    const std::string path = fmt::format("{}.values.{}", kField, name);
    size_t i = 0;
    while (i < hypers.size() && hypers[i].name != name) ++i;
    if (i == hypers.size()) return UnknownHyper(*choice.info_, name, path);
    RETURN_IF_ERROR(CheckBounds(hypers[i], value, path));
    choice.hypers_[i] = value;
  }
  return choice;
}

std::string AggregatorChoice::Describe() const {
  std::string text = fmt::format("aggregator '{}'", info_->name);
  for (size_t i = 0; i < hypers_.size(); ++i) {
    text += fmt::format("{} {} = {}", i == 0 ? " with" : ",", info_->hypers[i].name, hypers_[i]);
  }
  return text;
}

absl::Status CheckAggregator(const RoundSpec& rounds) {
  ASSIGN_OR_RETURN(const AggregatorChoice choice, AggregatorChoice::Make(rounds.aggregator));
  if (!choice.robust()) return absl::OkStatus();
  const auto refuse = [&](const char* field, const std::string& what) {
    return FieldError(field, fmt::format("{} with {}", what, choice.Describe()));
  };
  if (rounds.policy == RoundPolicy::kAsync)
    return refuse("spec.rounds.policy",
                  "is ASYNC, expected SYNC or BUFFERED (a single push has no others beside it)");
  if (rounds.reduction != Reduction::kOrdered)
    return refuse("spec.rounds.reduction", "is RUNNING, expected ORDERED (contributions must stay apart)");
  if (rounds.weighting != Weighting::kEqual)
    return refuse("spec.rounds.weighting", "is SAMPLES, expected EQUAL (a worker's own word is no weight)");
  if (rounds.staleness_exponent != 0)
    return refuse("spec.rounds.staleness_exponent",
                  fmt::format("is {}, expected 0", rounds.staleness_exponent));
  if (!rounds.staleness.name.empty())
    return refuse("spec.rounds.staleness", fmt::format("is '{}', expected none", rounds.staleness.name));
  RETURN_IF_ERROR(CheckMost(rounds, choice));
  return CheckLeast(rounds, choice);
}

bool ComparesContributions(const RoundSpec& rounds) {
  const AggregatorInfo* const info = kernels::FindAggregator(rounds.aggregator.name);
  return info != nullptr && info->compares();
}

}  // namespace stepback
