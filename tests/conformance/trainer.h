// One tensor in training under one rule on one back-end: the smallest model, for tests that follow a
// trajectory.
//
//   Trainer trainer(*backend, rule, hypers, {1, -2, 0.5, 3});
//   trainer.Step({0.1, 0.2, 0.3, 0.4});     // a gradient for an inner rule, a mean delta for an outer rule
//   trainer.weights();
#pragma once

#include <map>

#include "tests/conformance/scenario.h"

namespace stepback::kernels::testing {

class Trainer {
 public:
  Trainer(Backend& backend, const RuleInfo& rule, std::vector<double> hypers, const Floats& start);

  CommitResult Step(const Floats& input);
  // Outer rules: one sync of a gradient-mode model whose inner optimizer has arrived at `theta`.
  CommitResult Merge(const Floats& theta);

  Floats weights() const;
  // What evaluators read: the rule's eval slot where it has one, else the weights.
  Floats evaluation() const;
  // Everything a snapshot holds: arrays, counters and carries. Assigning it continues from there.
  Scenario& saved() { return scenario_; }

 private:
  CommitResult Run();
  Floats OfTensor(const Floats& arena) const;

  Backend& backend_;
  const RuleInfo& rule_;
  InlineExecutor executor_;
  Scenario scenario_;
};

// Inner and outer rules together.
std::vector<const RuleInfo*> AllRules();
// Those that the back-end runs.
std::vector<const RuleInfo*> RulesOf(const Backend& backend);
// Values for every hyperparameter: the named ones, defaults for the rest.
std::vector<double> Hypers(const RuleInfo& rule, const std::map<std::string, double>& named);
// Moderate rates under which every rule makes progress, with every slot in use where flags allow it.
std::vector<double> BusyHypers(const RuleInfo& rule);

}  // namespace stepback::kernels::testing
