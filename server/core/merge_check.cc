#include "server/core/merge_check.h"

#include <fmt/format.h>

#include "server/base/status_macros.h"
#include "server/core/aggregator_choice.h"
#include "server/core/field_error.h"
#include "server/core/staleness_weight.h"

namespace stepback {
namespace {

// Weights are no differences: nothing can be clipped, and a mean of them has no one age to be mixed by.
absl::Status CheckTakesWeights(const ModelSpec& spec) {
  const auto needs = [&](const char* field, const char* what) {
    return FieldError(field, fmt::format("{}: outer rule '{}' takes weights", what, spec.outer.name));
  };
  if (spec.mode != Mode::kDelta) return needs("spec.mode", "is GRADIENT, expected DELTA");
  if (spec.rounds.policy != RoundPolicy::kAsync) {
    return needs("spec.rounds.policy", "is not ASYNC, expected ASYNC, where every push mixes by itself");
  }
  if (spec.clip != ClipSpec()) return needs("spec.clip", "has a bound, expected none");
  return absl::OkStatus();
}

std::string RulesWithCurvature() {
  std::string names;
  for (const kernels::RuleInfo& rule : kernels::InnerRules()) {
    if (rule.curvature_slot >= 0) names += fmt::format("{}{}", names.empty() ? "" : ", ", rule.name);
  }
  return names;
}

absl::Status CheckTakesCurvature(const ModelSpec& spec, const RuleTable& rules) {
  if (spec.mode != Mode::kGradient) {
    return FieldError(
        "spec.outer",
        fmt::format("'{}' chooses its step by gradient and curvature, which only the workers know in "
                    "DELTA mode; expected GRADIENT mode",
                    spec.outer.name));
  }
  for (const RuleChoice& inner : rules.inner) {
    if (inner.info().curvature_slot >= 0) continue;
    return FieldError(
        "spec.inner",
        fmt::format(
            "'{}' keeps no second moment, by which outer rule '{}' chooses its step; those that do: {}",
            inner.info().name, spec.outer.name, RulesWithCurvature()));
  }
  return absl::OkStatus();
}

absl::Status CheckHistory(const ModelSpec& spec) {
  const uint32_t versions = spec.rounds.history_versions;
  const std::string field = "spec.rounds.history_versions";
  if (!CompensatesDelay(spec.rounds)) {
    if (versions == 0) return absl::OkStatus();
    return FieldError(field, fmt::format("is {}, but only staleness '{}' looks at past weights", versions,
                                         kDelayCompensated));
  }
  if (spec.mode != Mode::kGradient || spec.rounds.policy != RoundPolicy::kAsync) {
    return FieldError("spec.rounds.staleness",
                      fmt::format("is '{}', which is for gradients of ASYNC rounds", kDelayCompensated));
  }
  if (versions >= 1 && versions <= kHistoryVersionsMax) return absl::OkStatus();
  return FieldError(field, fmt::format("is {}, expected 1..{}", versions, kHistoryVersionsMax));
}

absl::Status CheckContributionNorm(const ModelSpec& spec) {
  const RuleSpec& aggregator = spec.rounds.aggregator;
  if (spec.clip.contribution_norm == 0 || aggregator.name == "mean") return absl::OkStatus();
  return FieldError("spec.clip.contribution_norm",
                    fmt::format("is {}, but aggregator '{}' looks at contributions as they came; "
                                "'median_norm_clip' bounds them by their median",
                                spec.clip.contribution_norm, aggregator.name));
}

}  // namespace

absl::Status CheckMerge(const ModelSpec& spec, const RuleTable& rules) {
  if (rules.outer.has_value() && rules.outer->info().takes_weights) RETURN_IF_ERROR(CheckTakesWeights(spec));
  if (rules.outer.has_value() && rules.outer->info().merge_sums > 0) {
    RETURN_IF_ERROR(CheckTakesCurvature(spec, rules));
  }
  RETURN_IF_ERROR(CheckHistory(spec));
  return CheckContributionNorm(spec);
}

}  // namespace stepback
