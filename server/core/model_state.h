// The weights of one model and the one way from a version to the next: reserve memory, fold, commit, publish.
// Decides nothing about sessions or rounds. Owned by a Model, used on its strand.
//
//   RETURN_IF_ERROR(state.ReserveSum());
//   ASSIGN_OR_RETURN(NextArrays next, state.ReserveNext(round, staged));  // fails before anything has
//   changed RETURN_IF_ERROR(state.Fold(push, weight, round)); ASSIGN_OR_RETURN(auto version,
//   state.Commit(round, std::move(next)));   // nothing changes when this fails version->clients = ...;
//   state.Publish(std::move(version));
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "server/core/aggregator_choice.h"
#include "server/core/commit_plan.h"
#include "server/core/machine_steps.h"
#include "server/core/model.h"
#include "server/core/model_arrays.h"
#include "server/core/model_version.h"
#include "server/core/round.h"
#include "server/core/rule_choice.h"
#include "server/core/weight_history.h"

namespace stepback {

class ModelState {
 public:
  // Takes over at `version`, adding the slots that it lacks. RESOURCE_EXHAUSTED when they do not fit.
  static absl::StatusOr<std::unique_ptr<ModelState>> Make(ModelVersion version,
                                                          Model::Environment environment);
  // Whether the parts of an image, which come from disk, fit each other. INVALID_ARGUMENT(LAYOUT_MISMATCH).
  static absl::Status CheckImage(const ModelVersion& version);
  // A version at its beginning: phi_0 = theta_0 = weights, fresh slots and counters. INVALID_ARGUMENT on a
  // wrong size or a NaN or infinity where training happens.
  static absl::StatusOr<ModelVersion> Begin(std::shared_ptr<const ModelSpec> spec,
                                            std::shared_ptr<const Layout> layout,
                                            std::unique_ptr<kernels::Buffer> weights,
                                            kernels::Backend* backend);

  const std::shared_ptr<const ModelVersion>& current() const { return current_; }
  const ModelSpec& spec() const { return *current_->spec; }
  const Layout& layout() const { return *current_->layout; }
  const AggregatorChoice& aggregator() const { return aggregator_; }

  // `staged`: the round's pushes lie staged. Else the fp32 sum itself will become the next weights: no array
  // for them. With fragments it stays, because the rounds of all of them share it, each in its own tensors'
  // place.
  absl::StatusOr<NextArrays> ReserveNext(const Round& round, bool staged);
  absl::Status ReserveSum();
  // What the trained tensors of a push are multiplied by so that their norm keeps clip.contribution_norm; 1:
  // as they are. RESOURCE_EXHAUSTED(NO_MEMORY).
  absl::StatusOr<double> ClipOf(const CheckedPush& push);
  // Adds a push to the running sum of `round`, which does not hold it yet.
  absl::Status Fold(const CheckedPush& push, const PushWeight& weight, const Round& round);
  // The next version, not published; a robust aggregator leaves in the round what it took of whom.
  // ABORTED(NONFINITE_RESULT) naming the tensor, ABORTED(ROUND_TOO_SMALL), INTERNAL(DEVICE_ERROR).
  // On failure `intact` says whether nothing has happened: RESOURCE_EXHAUSTED(NO_MEMORY) before the pass has
  // written anything. Round and sum are as they were then, and the round can be committed later.
  absl::StatusOr<std::shared_ptr<ModelVersion>> Commit(Round* round, NextArrays next, bool* intact);
  void Publish(std::shared_ptr<const ModelVersion> version) {
    history_.Add(*current_);
    current_ = std::move(version);
  }
  // Around one call of the model: what fails within it, or failed when the call was recorded.
  void BeginSteps(StepFailures recorded) { steps_.Begin(std::move(recorded)); }
  StepFailures TakeStepFailures() { return steps_.TakeFailures(); }

  // Delay compensation: what stale gradients are measured against; given out and taken back.
  std::vector<PastWeights> history() const { return history_.kept(); }
  // INVALID_ARGUMENT(OPEN_STATE_INVALID).
  absl::Status SetHistory(std::vector<PastWeights> kept);
  // Delay compensation: the oldest base that a push may have; 0: any.
  uint64_t oldest_kept() const;

  // The same version under other settings, with the slots that they need.
  absl::Status SetSpec(std::shared_ptr<const ModelSpec> spec, uint64_t settings_version);
  // The same version under a later term.
  void SetTerm(uint64_t term);
  // `version` replaces the present one, and has nothing to do with the weights before.
  absl::Status Replace(ModelVersion version);

  // State arrays of the present version (shared ones once) and the sum.
  uint64_t bytes() const;

 private:
  ModelState(std::shared_ptr<const ModelVersion> current, RuleTable rules, AggregatorChoice aggregator,
             ArrayMaker maker, Model::Environment environment)
      : current_(std::move(current)),
        rules_(std::move(rules)),
        aggregator_(std::move(aggregator)),
        maker_(std::move(maker)),
        environment_(environment),
        history_(current_->spec->rounds.history_versions) {}
  uint64_t sum_bytes() const;
  bool SumBecomesWeights(bool staged) const;
  absl::Status Aggregate(Round* round, CommitDraft* draft);
  // The arithmetic of a commit, up to the new arrays.
  absl::Status Pass(Round* round, CommitDraft* draft, kernels::CommitResult* result);
  absl::Status CompensateDelay(const Round& round, CommitDraft* draft) const;
  absl::Status Adopt(ModelVersion version);

  std::shared_ptr<const ModelVersion> current_;
  RuleTable rules_;
  AggregatorChoice aggregator_;
  ArrayMaker maker_;
  Model::Environment environment_;
  WeightHistory history_;
  MachineSteps steps_;
  std::unique_ptr<kernels::Buffer> sum_;  // fp32: part of the next version; fp64 or fragments: kept
};

}  // namespace stepback
