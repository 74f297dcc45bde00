#include "server/core/model_state.h"

#include <fmt/format.h>

#include <cmath>
#include <set>

#include "kernels/clip_factors.h"
#include "kernels/contribution_norm.h"
#include "server/base/check.h"
#include "server/base/errors.h"
#include "server/base/status_macros.h"
#include "server/core/averages.h"
#include "server/core/extrapolation.h"
#include "server/core/fold_plan.h"
#include "server/core/staleness_weight.h"

namespace stepback {
namespace {

absl::Status Mismatch(const ModelVersion& version, const std::string& what) {
  return Error(absl::StatusCode::kInvalidArgument, "LAYOUT_MISMATCH",
               fmt::format("model '{}': {}", version.spec->name, what));
}

absl::Status CheckArray(const ModelVersion& version, const Array& array, const char* name) {
  const uint64_t expected = version.layout->arena_floats() * sizeof(float);
  if (array->bytes() == expected) return absl::OkStatus();
  return Mismatch(version, fmt::format("{} has {} bytes, expected {}", name, array->bytes(), expected));
}

absl::Status CheckAverage(const ModelVersion& version, const AverageState& average) {
  if (average.samples < 0 || (average.samples > 0) != (average.value != nullptr) ||
      !average.iterates.arrays.empty()) {
    return Mismatch(version, fmt::format("an average of {} samples has {} array", average.samples,
                                         average.value != nullptr ? "an" : "no"));
  }
  return average.value == nullptr ? absl::OkStatus() : CheckArray(version, average.value, "an average");
}

absl::Status CheckIterates(const ModelVersion& version, bool deltas, const AverageState& average) {
  const Iterates& iterates = average.iterates;
  const size_t residuals = ResidualsOf(iterates);
  const bool fits = average.samples >= 0 && average.value == nullptr &&
                    (average.samples > 0) == (residuals > 0) &&
                    iterates.products.size() == residuals * residuals &&
                    iterates.deltas.size() == (deltas ? iterates.arrays.size() : 0);
  if (!fits) {
    return Mismatch(
        version,
        fmt::format("an average of {} samples has {} iterates, {} deltas and {} products", average.samples,
                    iterates.arrays.size(), iterates.deltas.size(), iterates.products.size()));
  }
  for (const auto* arrays : {&iterates.arrays, &iterates.deltas}) {
    for (const Array& array : *arrays) {
      if (array == nullptr) return Mismatch(version, "an iterate is missing");
      RETURN_IF_ERROR(CheckArray(version, array, "an iterate"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckAverages(const ModelVersion& version) {
  if (version.averages.size() != version.spec->averages.size()) {
    return Mismatch(version, fmt::format("the image has {} averages, the specification {}",
                                         version.averages.size(), version.spec->averages.size()));
  }
  for (size_t i = 0; i < version.averages.size(); ++i) {
    const kernels::RuleInfo* const rule = kernels::FindAverageRule(version.spec->averages[i].rule.name);
    if (rule == nullptr) return Mismatch(version, "an average of the image has an unknown rule");
    RETURN_IF_ERROR(rule->history != nullptr ? CheckIterates(version, rule->keeps_deltas, version.averages[i])
                                             : CheckAverage(version, version.averages[i]));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ModelState::CheckImage(const ModelVersion& version) {
  const size_t tensors = version.layout->tensors().size();
  if (version.spec->tensors.size() != tensors || version.counters == nullptr ||
      version.counters->size() != tensors) {
    return Mismatch(version, fmt::format("the table has {} tensors, the layout {}, the counters {}",
                                         version.spec->tensors.size(), tensors,
                                         version.counters == nullptr ? 0 : version.counters->size()));
  }
  if (version.fragments.size() != version.layout->fragments().size()) {
    return Mismatch(version, fmt::format("the image has {} fragments, the layout {}",
                                         version.fragments.size(), version.layout->fragments().size()));
  }
  if (version.phi == nullptr || version.theta == nullptr || version.clients == nullptr) {
    return Mismatch(version, "the image has no weights or no client table");
  }
  RETURN_IF_ERROR(CheckArray(version, version.phi, "phi"));
  RETURN_IF_ERROR(CheckArray(version, version.theta, "theta"));
  for (const auto* arrays : {&version.inner_slots, &version.outer_slots, &version.caches}) {
    if (arrays->size() > kernels::kMaxSlots) return Mismatch(version, "the image has too many slots");
    for (const Array& array : *arrays) {
      if (array != nullptr) RETURN_IF_ERROR(CheckArray(version, array, "a slot"));
    }
  }
  return CheckAverages(version);
}

absl::StatusOr<std::unique_ptr<ModelState>> ModelState::Make(ModelVersion version,
                                                             Model::Environment environment) {
  RETURN_IF_ERROR(CheckImage(version));
  ASSIGN_OR_RETURN(RuleTable rules, RuleTable::Make(*version.spec));
  ASSIGN_OR_RETURN(AggregatorChoice aggregator, AggregatorChoice::Make(version.spec->rounds.aggregator));
  ArrayMaker maker(environment.backend, version.layout, version.spec->name);
  RETURN_IF_ERROR(maker.AddMissingSlots(rules, &version));
  RefreshAverages(rules, &version);
  return std::unique_ptr<ModelState>(new ModelState(std::make_shared<const ModelVersion>(std::move(version)),
                                                    std::move(rules), std::move(aggregator), std::move(maker),
                                                    environment));
}

absl::StatusOr<ModelVersion> ModelState::Begin(std::shared_ptr<const ModelSpec> spec,
                                               std::shared_ptr<const Layout> layout,
                                               std::unique_ptr<kernels::Buffer> weights,
                                               kernels::Backend* backend) {
  ModelVersion version;
  version.spec = std::move(spec);
  version.layout = std::move(layout);
  version.phi = version.theta = std::move(weights);
  version.counters = std::make_shared<const std::vector<TensorCounters>>(version.layout->tensors().size());
  version.clients = std::make_shared<const ClientTable>();
  version.averages.resize(version.spec->averages.size());
  version.fragments.resize(version.layout->fragments().size());
  RETURN_IF_ERROR(CheckImage(version));
  RETURN_IF_ERROR(CheckFinite(backend, *version.spec, *version.layout, *version.phi));
  return version;
}

bool ModelState::SumBecomesWeights(bool staged) const {
  return !staged && spec().rounds.accumulate == AccumulateType::kF32 && layout().fragments().empty();
}

absl::StatusOr<NextArrays> ModelState::ReserveNext(const Round& round, bool staged) {
  ArraySet set = NextSet(*current_, rules_, round.fragment());
  if (SumBecomesWeights(staged)) set.phi = set.theta = false;
  return steps_.Run([&] { return maker_.AllocateNext(set); });
}

uint64_t ModelState::sum_bytes() const {
  return maker_.arena_bytes() * (spec().rounds.accumulate == AccumulateType::kF64 ? 2 : 1);
}

absl::Status ModelState::ReserveSum() {
  return steps_.Run([this] {
    if (sum_ != nullptr && sum_->bytes() == sum_bytes()) return absl::OkStatus();
    ASSIGN_OR_RETURN(sum_, maker_.Allocate(sum_bytes()));
    return absl::OkStatus();
  });
}

absl::StatusOr<double> ModelState::ClipOf(const CheckedPush& push) {
  const double bound = spec().clip.contribution_norm;
  if (bound == 0) return 1.0;
  std::vector<kernels::TensorStep> steps;
  for (size_t t = 0; t < layout().tensors().size(); ++t) {
    const TensorPlace& place = layout().tensors()[t];
    const bool used =
        place.role == Role::kTrained && (spec().mode == Mode::kDelta || rules_.inner_of[t] >= 0);
    steps.push_back({.count = place.arena_floats,
                     .action = used ? kernels::TensorAction::kTrained : kernels::TensorAction::kKeep});
  }
  const kernels::Contribution from{.codec = push.push.header.codec,
                                   .bytes = &push.push.payload.view(),
                                   .tensor_offsets = TensorOffsets(layout(), push.wire)};
  double squares = 0;
  RETURN_IF_ERROR(steps_.Run([&] {
    return StatusOf(kernels::ContributionSquares(steps, from, environment_.executor, &squares), spec().name,
                    "measuring a push");
  }));
  return kernels::ClipFactor(bound, std::sqrt(squares) / push.push.header.loss_scale);
}

absl::Status ModelState::Fold(const CheckedPush& push, const PushWeight& weight, const Round& round) {
  const auto type = spec().rounds.accumulate == AccumulateType::kF64 ? kernels::Accumulate::kF64
                                                                     : kernels::Accumulate::kF32;
  const auto fold = [&](FoldPart part, double share) {
    const std::vector<kernels::Fold> folds = PlanFolds(layout(), push.wire, round, part);
    if (folds.empty()) return absl::OkStatus();
    return steps_.Run([&] {
      return StatusOf(environment_.backend->FoldInto(sum_.get(), type, push.push.payload.view(), folds, share,
                                                     environment_.executor),
                      spec().name, "folding a push");
    });
  };
  RETURN_IF_ERROR(fold(FoldPart::kTrained, weight.of_trained()));
  return fold(FoldPart::kOthers, weight.numerator);
}

uint64_t ModelState::oldest_kept() const {
  return CompensatesDelay(spec().rounds) ? history_.oldest(current_->version.counter) : 0;
}

// Of the one push that an asynchronous round has; its base is the present weights or was admitted as kept.
absl::Status ModelState::CompensateDelay(const Round& round, CommitDraft* draft) const {
  const uint64_t staleness = round.members().front().staleness;
  if (!CompensatesDelay(spec().rounds) || staleness == 0) return absl::OkStatus();
  ASSIGN_OR_RETURN(const StalenessWeight function, StalenessWeight::Make(spec().rounds, "spec.rounds"));
  const kernels::Buffer* const base = history_.Find(current_->version.counter - staleness);
  SB_CHECK(base != nullptr, "the weights of a base that was admitted are not kept");
  draft->CompensateDelay(*base, function.value("lambda"));
  return absl::OkStatus();
}

// Pushes that overflowed under loss scaling satisfy membership and nothing else, so a full round may be too
// small.
absl::Status ModelState::Aggregate(Round* round, CommitDraft* draft) {
  if (round->effective() < aggregator_.least()) {
    return Error(absl::StatusCode::kAborted, "ROUND_TOO_SMALL",
                 fmt::format("model '{}': {} needs {} contributions, the round has {} and {} that overflowed",
                             spec().name, aggregator_.Describe(), aggregator_.least(), round->effective(),
                             round->contributions() - round->effective()));
  }
  std::vector<double> taken;
  RETURN_IF_ERROR(steps_.Run([&] {
    return StatusOf(draft->Aggregate(aggregator_, environment_, &taken), spec().name, "aggregating a round");
  }));
  round->SetTaken(taken);
  return absl::OkStatus();
}

absl::Status ModelState::Pass(Round* round, CommitDraft* draft, kernels::CommitResult* result) {
  if (aggregator_.robust()) RETURN_IF_ERROR(Aggregate(round, draft));
  RETURN_IF_ERROR(CompensateDelay(*round, draft));
  return steps_.Run([&] {
    *result = environment_.backend->Commit(draft->plan(), environment_.executor);
    return StatusOf(result->status, spec().name, "committing a round");
  });
}

absl::StatusOr<std::shared_ptr<ModelVersion>> ModelState::Commit(Round* round, NextArrays next, bool* intact) {
  const kernels::Buffer* sum = sum_.get();
  const bool lends_sum = SumBecomesWeights(round->staged());
  if (lends_sum) {
    (NextSet(*current_, rules_).phi ? next.phi : next.theta) = std::move(sum_);
  }
  auto averages = std::move(next.averages);
  CommitDraft draft(*current_, rules_, *round, sum, std::move(next));
  kernels::CommitResult result;
  const absl::Status passed = Pass(round, &draft, &result);
  *intact = absl::IsResourceExhausted(passed);
  if (*intact && lends_sum) sum_ = draft.TakeBack();
  RETURN_IF_ERROR(passed);
  if (result.finite) {
    std::shared_ptr<ModelVersion> version = draft.Finish(result);
    RETURN_IF_ERROR(steps_.Run([&] {
      return SampleAverages(*current_, rules_, environment_, std::move(averages), draft.TakeDelta(),
                            version.get(), round->fragment());
    }));
    return version;
  }
  const bool known =
      result.bad_tensor >= 0 && result.bad_tensor < static_cast<int64_t>(spec().tensors.size());
  const std::string tensor = known ? spec().tensors[result.bad_tensor].name : "?";
  return Error(
      absl::StatusCode::kAborted, "NONFINITE_RESULT",
      fmt::format(
          "model '{}': the step would make tensor '{}' (or its optimizer state) not finite; version {} "
          "stays",
          spec().name, tensor, current_->version.ToString()),
      {{"tensor", tensor}});
}

absl::Status ModelState::SetSpec(std::shared_ptr<const ModelSpec> spec, uint64_t settings_version) {
  ModelVersion version = *current_;
  version.spec = std::move(spec);
  version.settings_version = settings_version;
  return Adopt(std::move(version));
}

void ModelState::SetTerm(uint64_t term) {
  auto version = std::make_shared<ModelVersion>(*current_);
  version->version.term = term;
  current_ = std::move(version);
}

absl::Status ModelState::SetHistory(std::vector<PastWeights> kept) {
  const auto invalid = [this](const std::string& what) {
    return Error(absl::StatusCode::kInvalidArgument, "OPEN_STATE_INVALID",
                 fmt::format("model '{}': {}", spec().name, what));
  };
  if (kept.size() > history_.capacity()) {
    return invalid(fmt::format("{} past weights are more than history_versions {}", kept.size(),
                               history_.capacity()));
  }
  uint64_t counter = current_->version.counter - kept.size();
  for (const PastWeights& past : kept) {
    if (past.counter != counter++ || past.theta == nullptr || past.theta->bytes() != maker_.arena_bytes()) {
      return invalid(fmt::format("the past weights of counter {} do not lead to version {}", past.counter,
                                 current_->version.ToString()));
    }
  }
  history_.Restore(std::move(kept));
  return absl::OkStatus();
}

absl::Status ModelState::Replace(ModelVersion version) {
  RETURN_IF_ERROR(Adopt(std::move(version)));
  history_.Clear();
  return absl::OkStatus();
}

absl::Status ModelState::Adopt(ModelVersion version) {
  RETURN_IF_ERROR(CheckImage(version));
  ASSIGN_OR_RETURN(RuleTable rules, RuleTable::Make(*version.spec));
  ASSIGN_OR_RETURN(AggregatorChoice aggregator, AggregatorChoice::Make(version.spec->rounds.aggregator));
  RETURN_IF_ERROR(maker_.AddMissingSlots(rules, &version));
  RefreshAverages(rules, &version);
  rules_ = std::move(rules);
  aggregator_ = std::move(aggregator);
  current_ = std::make_shared<const ModelVersion>(std::move(version));
  return absl::OkStatus();
}

uint64_t ModelState::bytes() const {
  std::set<const kernels::Buffer*> arrays = {current_->phi.get(), current_->theta.get()};
  for (const auto* slots : {&current_->inner_slots, &current_->outer_slots, &current_->caches}) {
    for (const Array& slot : *slots) arrays.insert(slot.get());
  }
  for (const AverageState& average : current_->averages) {
    arrays.insert(average.value.get());
    for (const Array& iterate : average.iterates.arrays) arrays.insert(iterate.get());
    for (const Array& delta : average.iterates.deltas) arrays.insert(delta.get());
  }
  history_.ForEach([&](const kernels::Buffer* past) { arrays.insert(past); });
  arrays.erase(nullptr);
  uint64_t bytes = sum_ == nullptr ? 0 : sum_->bytes();
  for (const kernels::Buffer* array : arrays) bytes += array->bytes();
  return bytes;
}

}  // namespace stepback
