// Inner state at a sync (algorithms: keep | reset | pullback), against the formulas over several syncs.
#include <cmath>

#include "tests/conformance/backends.h"
#include "tests/conformance/trainer.h"

namespace stepback::kernels::testing {
namespace {

class Policy : public BackendTest {
 protected:
  // One inner step with a sync: sgd with momentum inside, lookahead outside.
  struct Model {
    double theta = 1, phi = 1, buffer = 0, cache = 0;
    void Step(double g, InnerStatePolicy policy, double alpha) {
      buffer = 0.9 * buffer + g;
      theta -= 0.1 * buffer;
      phi += alpha * (theta - phi);
      theta = phi;
      if (policy == InnerStatePolicy::kReset) buffer = 0;
      if (policy == InnerStatePolicy::kPullback) cache = buffer = alpha * buffer + (1 - alpha) * cache;
    }
  };

  Scenario Start(InnerStatePolicy policy, float alpha) {
    Scenario s;
    const RuleInfo& sgd = *FindInnerRule("sgd");
    TensorCase tensor{.count = 1};
    tensor.inner_rule = sgd.id;
    tensor.inner_hypers = Hypers(sgd, {{"lr", 0.1}, {"momentum", 0.9}});
    s.tensors = {tensor};
    s.gradient = true;
    s.outer_rule = FindOuterRule("lookahead")->id;
    s.outer_hypers = {alpha};
    s.policy = policy;
    s.pullback_alpha = alpha;
    s.state.theta = s.state.phi = Padded(1);
    s.state.inner[0] = Padded(0);
    if (policy == InnerStatePolicy::kPullback) s.state.caches[0] = Padded(0);
    return s;
  }

  static Floats Padded(float x) {
    Floats arena(kArenaAlignFloats, 0.0f);
    arena[0] = x;
    return arena;
  }

  void FollowsTheFormula(InnerStatePolicy policy, float alpha) {
    Scenario s = Start(policy, alpha);
    Model model;
    for (int sync = 1; sync <= 6; ++sync) {
      const float g = std::sin(static_cast<float>(sync));
      s.workers = {
          {.codec = FindCodec("f32")->id, .weight = 1, .tensors = {Encode(FindCodec("f32")->id, {g})}}};
      s.Prepare();
      Outcome outcome = RunOn(*backend_, &inline_, s);
      model.Step(g, policy, alpha);
      EXPECT_NEAR(outcome.next.phi[0], model.phi, 1e-6) << "sync " << sync;
      EXPECT_NEAR(outcome.next.inner[0][0], model.buffer, 1e-6) << "sync " << sync;
      if (policy == InnerStatePolicy::kPullback) {
        EXPECT_EQ(outcome.next.caches[0], outcome.next.inner[0]);
      }
      s.state = outcome.next;
      s.state.theta = s.state.phi;
      ++s.tensors[0].step;
    }
  }
};
INSTANTIATE_FOR_BACKENDS(Policy);

TEST_P(Policy, KeepLeavesTheMoments) { FollowsTheFormula(InnerStatePolicy::kKeep, 0.5f); }
TEST_P(Policy, ResetPutsEveryMomentBackToItsStart) { FollowsTheFormula(InnerStatePolicy::kReset, 0.5f); }

// The published code keeps an alias instead of a copy and decays the moment instead; the formula
// interpolates.
TEST_P(Policy, PullbackInterpolatesWithACopyOfTheLastMoment) {
  FollowsTheFormula(InnerStatePolicy::kPullback, 0.5f);
  FollowsTheFormula(InnerStatePolicy::kPullback, 0.8f);
}

// A sync covers every trained tensor, also one that got no gradient in this step.
TEST_P(Policy, CoversATensorWithoutAGradient) {
  Scenario s = Start(InnerStatePolicy::kReset, 0.5f);
  s.tensors[0].action = TensorAction::kKeep;
  s.workers = {{.codec = 0, .weight = 1, .tensors = {Bytes()}}};
  s.state.theta = Padded(3);
  s.state.inner[0] = Padded(7);
  s.Prepare();
  const Outcome outcome = RunOn(*backend_, &inline_, s);
  EXPECT_EQ(outcome.next.phi[0], 2.0f);
  EXPECT_EQ(outcome.next.inner[0][0], 0.0f);
}

TEST_P(Policy, LeavesAloneWhatIsNotMerged) {
  Scenario s = Start(InnerStatePolicy::kReset, 0.5f);
  s.tensors[0].action = TensorAction::kKeep;
  s.tensors[0].merges = false;
  s.workers = {{.codec = 0, .weight = 1, .tensors = {Bytes()}}};
  s.state.theta = Padded(3);
  s.state.inner[0] = Padded(7);
  s.Prepare();
  const Outcome outcome = RunOn(*backend_, &inline_, s);
  EXPECT_EQ(outcome.next.phi[0], 3.0f) << "phi takes theta";
  EXPECT_EQ(outcome.next.inner[0][0], 7.0f);
}

}  // namespace
}  // namespace stepback::kernels::testing
