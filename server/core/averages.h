// The averages of a model's slow weights (algorithms.md 6): when they take a sample, and the sample itself.
// An average samples phi right after a sync has changed it, never theta in mid-cycle; a model without an
// outer rule, whose theta is its phi, samples after every step. Syncs count from 1 at creation, and again
// from 1 after an import. In a model of fragments a sync is complete once every fragment has made its outer
// step; `fragment` below is the one that the next commit is of.
//
// Trained and averaged tensors are numbers and enter; carried and frozen ones are bytes, served as phi has
// them.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "kernels/backend.h"
#include "server/core/model.h"
#include "server/core/model_version.h"
#include "server/core/rule_choice.h"

namespace stepback {

// Bit i: the next commit takes a sample for average i.
uint32_t NextSamples(const ModelVersion& current, const RuleTable& rules,
                     std::optional<uint32_t> fragment = {});

// Those of them that need an array of their own for it: all but extrapolations, which share phi.
uint32_t NextAverageArrays(const ModelVersion& current, const RuleTable& rules,
                           std::optional<uint32_t> fragment = {});

// Whether a sample of the next commit keeps the delta of the outer step.
bool NextKeepsDelta(const ModelVersion& current, const RuleTable& rules,
                    std::optional<uint32_t> fragment = {});

// Takes the samples that NextSamples(current, rules) announced, from version->phi; `next` holds the arrays
// for them, `delta` what NextKeepsDelta asked for. ABORTED(NONFINITE_RESULT) naming the average,
// INTERNAL(DEVICE_ERROR); `version` is not to be used then.
absl::Status SampleAverages(const ModelVersion& current, const RuleTable& rules,
                            const Model::Environment& environment,
                            std::array<std::unique_ptr<kernels::Buffer>, kMaxAverages> next,
                            const Array& delta, ModelVersion* version, std::optional<uint32_t> fragment = {});

// The arena as runs of numbers and runs of bytes, pads included.
std::vector<kernels::AverageRun> AverageRuns(const Layout& layout);

// Brings what follows from the state and the hyperparameters up to date: after a load and after a change of
// settings.
void RefreshAverages(const RuleTable& rules, ModelVersion* version);

// What an average shows of its numbers: sum of weight x array. Its own array, a combination of iterates, or
// phi before the first sample.
struct ShownTerm {
  Array array;
  double weight = 1;
};
std::vector<ShownTerm> ShownTerms(const ModelVersion& version, size_t average);

// Bytes of arrays that averages hold at most, for arrays of `arena_bytes`: an extrapolation its iterates, the
// others theirs and the next.
uint64_t AverageBytes(const RuleTable& rules, uint64_t arena_bytes);

}  // namespace stepback
