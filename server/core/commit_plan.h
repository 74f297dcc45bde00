// One commit in full: what happens to every tensor, the host scalars of its rules, the buffers read and
// written, and the version that results. Nothing of the model changes while a draft is made or when it fails:
// counters and running products are advanced on copies. Owns everything that its plan points at.
//
//   CommitDraft draft(current, rules, round, sum, std::move(next));
//   result = backend->Commit(draft.plan(), executor);
//   version = draft.Finish(result);
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "kernels/backend.h"
#include "server/core/aggregator_choice.h"
#include "server/core/model.h"
#include "server/core/model_arrays.h"
#include "server/core/model_version.h"
#include "server/core/round.h"
#include "server/core/rule_choice.h"

namespace stepback {

// Whether the next commit has an outer step: every one in delta mode, every k-th in gradient mode, k as
// sync_period.h says (k may change while the model runs: a sync fires once the phase has reached it).
bool NextHasOuterStep(const ModelVersion& current, const RuleTable& rules);
// The arrays that the next commit writes; `fragment`: of which it is a commit, in a model that has them. Its
// tensors step, the others are copied.
ArraySet NextSet(const ModelVersion& current, const RuleTable& rules, std::optional<uint32_t> fragment = {});

class CommitDraft {
 public:
  // `sum` holds the round's running sum unless its pushes are staged. All references outlive the draft.
  CommitDraft(const ModelVersion& current, const RuleTable& rules, const Round& round,
              const kernels::Buffer* sum, NextArrays next);
  CommitDraft(const CommitDraft&) = delete;
  CommitDraft& operator=(const CommitDraft&) = delete;

  const kernels::CommitPlan& plan() const { return plan_; }
  // Aggregates the staged pushes into the buffer of the next weights, which is the commit's sum from then on,
  // and says what was taken of each. On failure the draft is of no use.
  kernels::Status Aggregate(const AggregatorChoice& aggregator, const Model::Environment& environment,
                            std::vector<double>* taken);
  // Compensates the round's only gradient for its age (kernels/delay.h): it was computed at `base`, which
  // outlives the draft.
  void CompensateDelay(const kernels::Buffer& base, double lambda);
  bool outer_step() const { return outer_step_; }
  // The next version, all but its client table; takes the buffers.
  std::shared_ptr<ModelVersion> Finish(const kernels::CommitResult& result);
  // After a commit that wrote nothing: the buffer of the next weights, which may be the round's sum.
  std::unique_ptr<kernels::Buffer> TakeBack() {
    return std::move(next_.phi != nullptr ? next_.phi : next_.theta);
  }
  // The delta of the outer step, if the next arrays had one for it.
  std::unique_ptr<kernels::Buffer> TakeDelta() { return std::move(next_.delta); }

 private:
  void PlanTensors();
  kernels::TensorStep StepOf(size_t tensor) const;
  void PlanInner(size_t tensor, kernels::TensorStep* step);
  void PlanOuter(size_t tensor, kernels::TensorStep* step);
  uint64_t AppendScalars(const kernels::RuleInfo& rule, const std::vector<double>& hypers, int64_t step,
                         double* carry);
  void PlanInput(const kernels::Buffer* sum);
  void Stage(const RoundMember& member);
  void MixByAge();
  void PlanArrays();
  void PlanPolicy();
  std::shared_ptr<const std::vector<RuleRates>> Rates() const;
  void TakeWeights(ModelVersion* version);
  void TakeProgress(ModelVersion* version) const;
  void TakeFragmentProgress(ModelVersion* version) const;
  bool gradient() const { return current_.spec->mode == Mode::kGradient; }
  bool takes_weights() const { return outer_step_ && rules_.outer->info().takes_weights; }

  const ModelVersion& current_;
  const RuleTable& rules_;
  const Round& round_;
  NextArrays next_;
  const bool outer_step_;
  kernels::CommitPlan plan_;
  std::vector<std::vector<double>> inner_hypers_;  // parallel to rules_.inner, of this step
  std::vector<double> outer_hypers_;
  std::vector<kernels::TensorStep> steps_;
  std::vector<std::byte> scalars_;
  std::vector<uint8_t> merges_;
  std::vector<kernels::Contribution> staged_;
  std::vector<TensorCounters> counters_;
};

}  // namespace stepback
