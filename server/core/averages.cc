#include "server/core/averages.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "server/base/errors.h"
#include "server/base/status_macros.h"
#include "server/core/commit_plan.h"
#include "server/core/extrapolation.h"
#include "server/core/model_arrays.h"

namespace stepback {
namespace {

bool IsNumbers(Role role) { return role == Role::kTrained || role == Role::kAveraged; }

// How many syncs the slow weights have seen once `version` has made its next one.
int64_t NextSync(const ModelVersion& version, const RuleTable& rules) {
  return static_cast<int64_t>(rules.outer.has_value() ? SyncsOf(version) : version.inner_steps) + 1;
}

// Whether every other fragment has made the step that the next commit brings to this one.
bool CompletesSync(const ModelVersion& current, uint32_t fragment) {
  const uint64_t behind = SyncsOf(current);
  if (current.fragments[fragment].outer_steps != behind) return false;
  return std::count_if(current.fragments.begin(), current.fragments.end(),
                       [&](const FragmentState& other) { return other.outer_steps == behind; }) == 1;
}

absl::Status NotFinite(const ModelVersion& version, const std::string& average) {
  return Error(
      absl::StatusCode::kAborted, "NONFINITE_RESULT",
      fmt::format("model '{}': the step would make average '{}' not finite", version.spec->name, average),
      {{"average", average}});
}

bool IsExtrapolation(const RuleChoice& rule) { return rule.info().history != nullptr; }

double HyperOf(const RuleChoice& rule, std::string_view name) {
  return rule.HypersAt(0)[kernels::HyperIndex(rule.info(), name)];
}

// The slow weights before the first sync are an iterate too.
absl::Status KeepIterate(const ModelVersion& current, const RuleChoice& rule,
                         const Model::Environment& environment, std::span<const kernels::AverageRun> runs,
                         const Array& phi, const Array& delta, AverageState* average) {
  const auto memory = static_cast<size_t>(rule.info().history(rule.HypersAt(0)));
  IterateKeeper keeper(environment, current.spec->name, runs, memory, &average->iterates);
  if (rule.info().keeps_deltas) {
    RETURN_IF_ERROR(keeper.Add(current.phi, delta));
  } else {
    if (average->samples == 0) RETURN_IF_ERROR(keeper.Add(current.phi));
    RETURN_IF_ERROR(keeper.Add(phi));
  }
  SolveWeights(HyperOf(rule, "regularization"), &average->iterates);
  return absl::OkStatus();
}

std::vector<ShownTerm> BasesLessDeltas(const Iterates& iterates) {
  std::vector<ShownTerm> terms;
  for (size_t i = 0; i < iterates.weights.size(); ++i) {
    terms.push_back({iterates.arrays[i], iterates.weights[i]});
    terms.push_back({iterates.deltas[i], -iterates.weights[i]});
  }
  return terms;
}

// `plan` lacks the rule, its scalars and the array to write.
absl::StatusOr<bool> Mix(const RuleChoice& rule, const Model::Environment& environment,
                         kernels::AveragePlan plan, std::unique_ptr<kernels::Buffer> next,
                         const std::string& model, AverageState* average) {
  alignas(16) std::byte scalars[kernels::kMaxAverageScalarsBytes];
  rule.info().prepare(rule.HypersAt(0), average->samples + 1, average->carry, scalars);
  plan.rule = rule.info().id;
  plan.scalars = {scalars, rule.info().scalars_bytes};
  plan.next = next.get();
  const kernels::AverageResult result = environment.backend->Average(plan, environment.executor);
  RETURN_IF_ERROR(StatusOf(result.status, model, "averaging"));
  average->value = std::move(next);
  return result.finite;
}

}  // namespace

uint32_t NextSamples(const ModelVersion& current, const RuleTable& rules, std::optional<uint32_t> fragment) {
  if (fragment.has_value() && !CompletesSync(current, *fragment)) return 0;
  if (rules.outer.has_value() && !NextHasOuterStep(current, rules)) return 0;
  uint32_t mask = 0;
  for (size_t i = 0; i < rules.averages.size(); ++i) {
    const RuleChoice& rule = rules.averages[i];
    mask |= uint32_t{rule.info().samples(rule.HypersAt(0), NextSync(current, rules))} << i;
  }
  return mask;
}

uint32_t NextAverageArrays(const ModelVersion& current, const RuleTable& rules,
                           std::optional<uint32_t> fragment) {
  uint32_t mask = NextSamples(current, rules, fragment);
  for (size_t i = 0; i < rules.averages.size(); ++i) {
    if (IsExtrapolation(rules.averages[i])) mask &= ~(1u << i);
  }
  return mask;
}

bool NextKeepsDelta(const ModelVersion& current, const RuleTable& rules, std::optional<uint32_t> fragment) {
  const uint32_t samples = NextSamples(current, rules, fragment);
  for (size_t i = 0; i < rules.averages.size(); ++i) {
    if ((samples >> i & 1) != 0 && rules.averages[i].info().keeps_deltas) return true;
  }
  return false;
}

std::vector<kernels::AverageRun> AverageRuns(const Layout& layout) {
  std::vector<kernels::AverageRun> runs;
  const std::vector<TensorPlace>& places = layout.tensors();
  for (size_t t = 0; t < places.size(); ++t) {
    const uint64_t begin = places[t].arena_begin;
    const uint64_t end = t + 1 < places.size() ? places[t + 1].arena_begin : layout.arena_floats();
    if (begin == end) continue;
    if (runs.empty() || runs.back().numbers != IsNumbers(places[t].role)) {
      runs.push_back({begin, 0, IsNumbers(places[t].role)});
    }
    runs.back().count += end - begin;
  }
  return runs;
}

absl::Status SampleAverages(const ModelVersion& current, const RuleTable& rules,
                            const Model::Environment& environment,
                            std::array<std::unique_ptr<kernels::Buffer>, kMaxAverages> next,
                            const Array& delta, ModelVersion* version, std::optional<uint32_t> fragment) {
  const uint32_t samples = NextSamples(current, rules, fragment);
  if (samples == 0) return absl::OkStatus();
  const std::vector<kernels::AverageRun> runs = AverageRuns(*version->layout);
  for (size_t i = 0; i < version->averages.size(); ++i) {
    if ((samples >> i & 1) == 0) continue;
    AverageState& average = version->averages[i];
    if (IsExtrapolation(rules.averages[i])) {
      RETURN_IF_ERROR(
          KeepIterate(current, rules.averages[i], environment, runs, version->phi, delta, &average));
    } else {
      const Array& before = average.samples > 0 ? average.value : current.phi;
      ASSIGN_OR_RETURN(const bool finite,
                       Mix(rules.averages[i], environment,
                           {.runs = runs, .phi = version->phi.get(), .average = before.get()},
                           std::move(next[i]), version->spec->name, &average));
      if (!finite) return NotFinite(*version, version->spec->averages[i].name);
    }
    ++average.samples;
  }
  return absl::OkStatus();
}

void RefreshAverages(const RuleTable& rules, ModelVersion* version) {
  for (size_t i = 0; i < version->averages.size(); ++i) {
    if (IsExtrapolation(rules.averages[i])) {
      SolveWeights(HyperOf(rules.averages[i], "regularization"), &version->averages[i].iterates);
    }
  }
}

std::vector<ShownTerm> ShownTerms(const ModelVersion& version, size_t average) {
  const AverageState& state = version.averages[average];
  if (state.value != nullptr) return {{state.value}};
  const Iterates& iterates = state.iterates;
  if (iterates.weights.empty()) return {{version.phi}};
  if (!iterates.deltas.empty()) return BasesLessDeltas(iterates);
  const auto& values = version.spec->averages[average].rule.values;
  const auto first = values.find("first");
  const size_t from = first != values.end() && first->second != 0 ? 0 : 1;
  std::vector<ShownTerm> terms;
  for (size_t i = 0; i < iterates.weights.size(); ++i) {
    terms.push_back({iterates.arrays[from + i], iterates.weights[i]});
  }
  return terms;
}

uint64_t AverageBytes(const RuleTable& rules, uint64_t arena_bytes) {
  uint64_t arrays = 0;
  for (const RuleChoice& rule : rules.averages) {
    const int kept = IsExtrapolation(rule) ? rule.info().history(rule.HypersAt(0)) : 2;
    arrays += static_cast<uint64_t>(kept) * (rule.info().keeps_deltas ? 2 : 1);
  }
  return arrays * arena_bytes;
}

}  // namespace stepback
