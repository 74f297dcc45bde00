#include "server/core/commit_plan.h"

#include <algorithm>
#include <cmath>

#include "server/core/averages.h"
#include "server/core/sync_period.h"

namespace stepback {
namespace {

using kernels::Buffer;
using kernels::kMaxSlots;
using kernels::TensorAction;
using kernels::TensorStep;

constexpr size_t kScalarsAlign = 16;

bool ResetsState(const ModelSpec& spec) { return spec.inner_state == InnerState::kReset; }

uint32_t MaskOf(const std::vector<Array>& arrays) {
  uint32_t mask = 0;
  for (size_t i = 0; i < arrays.size(); ++i) mask |= uint32_t{arrays[i] != nullptr} << i;
  return mask;
}

TensorAction ActionOf(Role role, bool contributed) {
  if (!contributed) return TensorAction::kKeep;
  switch (role) {
    case Role::kTrained:
      return TensorAction::kTrained;
    case Role::kAveraged:
      return TensorAction::kAveraged;
    case Role::kCarried:
      return TensorAction::kCarried;
    case Role::kFrozen:
      break;
  }
  return TensorAction::kKeep;
}

kernels::InnerStatePolicy PolicyOf(InnerState state) {
  switch (state) {
    case InnerState::kReset:
      return kernels::InnerStatePolicy::kReset;
    case InnerState::kPullback:
      return kernels::InnerStatePolicy::kPullback;
    case InnerState::kKeep:
      break;
  }
  return kernels::InnerStatePolicy::kKeep;
}

void Bind(const std::vector<Array>& current, std::unique_ptr<Buffer>* next, const Buffer** from,
          Buffer** to) {
  for (int i = 0; i < kMaxSlots; ++i) {
    if (next[i] == nullptr) continue;
    from[i] = current[i].get();
    to[i] = next[i].get();
  }
}

void Take(std::unique_ptr<Buffer>* next, std::vector<Array>* arrays) {
  for (int i = 0; i < kMaxSlots; ++i) {
    if (next[i] != nullptr) (*arrays)[i] = std::move(next[i]);
  }
}

// To a version or a fragment of it.
template <typename Progress>
void AddProgress(const Round& round, bool gradient, Progress* progress) {
  for (const RoundMember& member : round.members()) {
    if (member.skipped) continue;
    progress->samples += member.samples;
    if (!gradient) progress->inner_steps += member.local_steps;
  }
  if (gradient) ++progress->inner_steps;
}

}  // namespace

bool NextHasOuterStep(const ModelVersion& current, const RuleTable& rules) {
  if (!rules.outer.has_value()) return false;
  const ModelSpec& spec = *current.spec;
  return spec.mode == Mode::kDelta || current.sync_phase + 1 >= SyncPeriodAt(spec, current.outer_steps);
}

ArraySet NextSet(const ModelVersion& current, const RuleTable& rules, std::optional<uint32_t> fragment) {
  const bool gradient = current.spec->mode == Mode::kGradient;
  const bool outer = NextHasOuterStep(current, rules);
  ArraySet set = SlotsOf(*current.spec, rules);
  set.theta = gradient && !outer;
  set.phi = !set.theta;
  // A reset reaches slots that the present hyperparameters do not use as well.
  if (outer && ResetsState(*current.spec)) set.inner_slots |= MaskOf(current.inner_slots);
  if (!gradient) set.inner_slots = 0;
  if (!outer) set.outer_slots = set.caches = 0;
  set.averages = NextAverageArrays(current, rules, fragment);
  set.delta = NextKeepsDelta(current, rules, fragment);
  return set;
}

CommitDraft::CommitDraft(const ModelVersion& current, const RuleTable& rules, const Round& round,
                         const Buffer* sum, NextArrays next)
    : current_(current),
      rules_(rules),
      round_(round),
      next_(std::move(next)),
      outer_step_(NextHasOuterStep(current, rules)),
      counters_(*current.counters) {
  for (const RuleChoice& choice : rules.inner) inner_hypers_.push_back(choice.HypersAt(current.inner_steps));
  if (outer_step_) outer_hypers_ = rules.outer->HypersAt(OuterStepsOf(current, round.fragment()));
  if (takes_weights()) MixByAge();
  PlanTensors();
  PlanInput(sum);
  PlanArrays();
  if (outer_step_) PlanPolicy();
}

void CommitDraft::PlanTensors() {
  const std::vector<TensorPlace>& places = current_.layout->tensors();
  steps_.reserve(places.size());
  merges_.assign(places.size(), 0);
  for (size_t t = 0; t < places.size(); ++t) {
    TensorStep step = StepOf(t);
    if (places[t].role == Role::kTrained) {
      if (gradient()) PlanInner(t, &step);
      if (outer_step_) PlanOuter(t, &step);
    }
    if (places[t].role == Role::kAveraged && takes_weights()) PlanOuter(t, &step);
    steps_.push_back(step);
  }
  plan_.tensors = steps_;
  plan_.scalars = scalars_;
  plan_.merges = merges_;
  if (outer_step_) plan_.outer_rule = rules_.outer->info().id;
  plan_.weights = takes_weights();
  plan_.want_norms = true;
  const ClipSpec& clip = current_.spec->clip;
  plan_.clip = {.value = clip.value, .tensor_norm = clip.tensor_norm, .global_norm = clip.global_norm};
}

TensorStep CommitDraft::StepOf(size_t tensor) const {
  const TensorPlace& place = current_.layout->tensors()[tensor];
  TensorStep step{.arena_begin = place.arena_begin,
                  .count = place.arena_floats,
                  .action = ActionOf(place.role, round_.has(tensor))};
  // Frozen tensors are bytes to a commit as carried ones are: they may hold infinities (attention masks).
  if (place.role == Role::kCarried) step.carried_bytes = place.raw_bytes;
  if (place.role == Role::kFrozen) step.carried_bytes = place.elements * sizeof(float);
  if (round_.has(tensor)) step.divisor = round_.divisor(tensor);
  return step;
}

// The rule's slots are named also for a tensor without a gradient: the policy of a sync reaches them.
void CommitDraft::PlanInner(size_t tensor, TensorStep* step) {
  const int choice = rules_.inner_of[tensor];
  if (choice < 0) return;
  const kernels::RuleInfo& rule = rules_.inner[choice].info();
  step->inner_rule = rule.id;
  step->inner_used_slots = rules_.inner[choice].used_slots();
  step->inner_reduces = rule.sums > 0 && rule.reduces(inner_hypers_[choice]);
  step->shape = current_.spec->tensors[tensor].shape;
  TensorCounters& counters = counters_[tensor];
  if (step->action == TensorAction::kTrained) {
    step->inner_scalars =
        AppendScalars(rule, inner_hypers_[choice], ++counters.inner_steps, counters.inner_carry);
  }
  if (!outer_step_ || !ResetsState(*current_.spec)) return;
  counters.inner_steps = 0;
  std::fill_n(counters.inner_carry, kernels::kMaxCarry, 1.0);
}

// alpha_t = alpha x staleness weight, of the one push that an asynchronous round has (algorithms.md 5.2).
void CommitDraft::MixByAge() {
  const int alpha = kernels::HyperIndex(rules_.outer->info(), "alpha");
  for (const RoundMember& member : round_.members()) {
    if (!member.skipped) outer_hypers_[alpha] *= member.weight.mixing;
  }
}

// Gradient mode: a sync merges every trained tensor. Delta mode: the tensors that someone sent.
void CommitDraft::PlanOuter(size_t tensor, TensorStep* step) {
  merges_[tensor] = gradient() ? 1 : 0;
  if (!gradient() && step->action == TensorAction::kKeep) return;
  TensorCounters& counters = counters_[tensor];
  step->outer_scalars =
      AppendScalars(rules_.outer->info(), outer_hypers_, ++counters.outer_steps, counters.outer_carry);
}

uint64_t CommitDraft::AppendScalars(const kernels::RuleInfo& rule, const std::vector<double>& hypers,
                                    int64_t step, double* carry) {
  const uint64_t offset = scalars_.size();
  scalars_.resize(offset + (rule.scalars_bytes + kScalarsAlign - 1) / kScalarsAlign * kScalarsAlign);
  rule.prepare(hypers, step, carry, scalars_.data() + offset);
  return offset;
}

void CommitDraft::PlanInput(const Buffer* sum) {
  if (!round_.staged()) {
    plan_.acc = sum;
    plan_.acc_type = current_.spec->rounds.accumulate == AccumulateType::kF64 ? kernels::Accumulate::kF64
                                                                              : kernels::Accumulate::kF32;
    return;
  }
  for (const RoundMember& member : round_.members()) {
    if (!member.skipped) Stage(member);
  }
  plan_.staged = staged_;
}

// One contribution; of a member whose trained tensors have a weight of their own, two that share no tensor.
void CommitDraft::Stage(const RoundMember& member) {
  kernels::Contribution whole{.codec = member.codec,
                              .weight = member.weight.numerator,
                              .bytes = &member.payload.view(),
                              .tensor_offsets = member.tensor_offsets};
  if (member.weight.clip == 1) return staged_.push_back(std::move(whole));
  kernels::Contribution trained = whole;
  trained.weight = member.weight.of_trained();
  const std::vector<TensorPlace>& places = current_.layout->tensors();
  for (size_t t = 0; t < places.size(); ++t) {
    (places[t].role == Role::kTrained ? whole : trained).tensor_offsets[t] = -1;
  }
  staged_.push_back(std::move(trained));
  staged_.push_back(std::move(whole));
}

void CommitDraft::CompensateDelay(const Buffer& base, double lambda) {
  plan_.base = &base;
  plan_.delay_lambda = static_cast<float>(lambda);
}

kernels::Status CommitDraft::Aggregate(const AggregatorChoice& aggregator,
                                       const Model::Environment& environment, std::vector<double>* taken) {
  Buffer* const sum = next_.phi != nullptr ? next_.phi.get() : next_.theta.get();
  taken->assign(staged_.size(), 0);
  const kernels::AggregatePlan plan{.aggregator = aggregator.info().id,
                                    .hypers = aggregator.hypers(),
                                    .tensors = steps_,
                                    .staged = staged_,
                                    .shares = *taken};
  const kernels::Status status = environment.backend->Aggregate(plan, sum, environment.executor);
  for (TensorStep& step : steps_) step.divisor = 1;
  plan_.staged = {};
  plan_.acc = sum;
  plan_.acc_type = kernels::Accumulate::kF32;
  return status;
}

void CommitDraft::PlanArrays() {
  plan_.theta = gradient() ? current_.theta.get() : nullptr;
  plan_.theta_next = next_.theta.get();
  plan_.phi = current_.phi.get();
  plan_.phi_next = next_.phi.get();
  plan_.delta_next = next_.delta.get();
  Bind(current_.inner_slots, next_.inner_slots, plan_.inner_slots, plan_.inner_slots_next);
  Bind(current_.outer_slots, next_.outer_slots, plan_.outer_slots, plan_.outer_slots_next);
  Bind(current_.caches, next_.caches, plan_.caches, plan_.caches_next);
}

void CommitDraft::PlanPolicy() {
  if (!gradient()) return;
  plan_.policy = PolicyOf(current_.spec->inner_state);
  const int alpha = kernels::HyperIndex(rules_.outer->info(), "alpha");
  if (alpha >= 0) plan_.pullback_alpha = static_cast<float>(outer_hypers_[alpha]);
}

std::shared_ptr<ModelVersion> CommitDraft::Finish(const kernels::CommitResult& result) {
  auto version = std::make_shared<ModelVersion>(current_);
  ++version->version.counter;
  TakeWeights(version.get());
  Take(next_.inner_slots, &version->inner_slots);
  Take(next_.outer_slots, &version->outer_slots);
  Take(next_.caches, &version->caches);
  version->counters = std::make_shared<const std::vector<TensorCounters>>(std::move(counters_));
  TakeProgress(version.get());
  version->update_norm = std::sqrt(result.input_sq);
  version->weight_norm = std::sqrt(result.weight_sq);
  version->distance = std::sqrt(result.distance_sq);
  version->merge_share = result.merge_share;
  version->rates = Rates();
  return version;
}

std::shared_ptr<const std::vector<RuleRates>> CommitDraft::Rates() const {
  auto rates = std::make_shared<std::vector<RuleRates>>();
  for (size_t i = 0; i < inner_hypers_.size(); ++i)
    rates->push_back({&rules_.inner[i].info(), inner_hypers_[i]});
  if (outer_step_) rates->push_back({&rules_.outer->info(), outer_hypers_});
  return rates;
}

// Right after a sync, and always without slow weights of its own, theta and phi are one array.
void CommitDraft::TakeWeights(ModelVersion* version) {
  if (next_.phi != nullptr) {
    version->phi = std::move(next_.phi);
    version->theta = version->phi;
    return;
  }
  version->theta = std::move(next_.theta);
  if (!rules_.outer.has_value()) version->phi = version->theta;
}

void CommitDraft::TakeProgress(ModelVersion* version) const {
  if (outer_step_) ++version->outer_steps;
  if (round_.fragment().has_value()) {
    TakeFragmentProgress(version);
  } else {
    AddProgress(round_, gradient(), version);
  }
  version->sync_phase = gradient() && !outer_step_ && rules_.outer.has_value() ? current_.sync_phase + 1 : 0;
  const ModelSpec& spec = *version->spec;
  const uint64_t steps = gradient() ? version->inner_steps : SyncsOf(*version);
  version->finished = (spec.finish_after_steps > 0 && steps >= spec.finish_after_steps) ||
                      (spec.finish_after_samples > 0 && version->samples >= spec.finish_after_samples);
}

// A worker's local steps lie behind its push of every fragment; the model counts them once.
void CommitDraft::TakeFragmentProgress(ModelVersion* version) const {
  FragmentState& fragment = version->fragments[*round_.fragment()];
  fragment.version = version->version;
  ++fragment.outer_steps;
  AddProgress(round_, false, &fragment);
  version->inner_steps = std::max(version->inner_steps, fragment.inner_steps);
  version->samples = std::max(version->samples, fragment.samples);
}

}  // namespace stepback
