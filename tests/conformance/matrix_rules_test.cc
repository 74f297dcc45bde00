// Rules that step whole tensors: adafactor and muon. CPU only.
#include <cmath>

#include "kernels/cpu/dispatch.h"
#include "tests/conformance/backends.h"
#include "tests/conformance/reference.h"
#include "tests/conformance/trainer.h"
#include "tests/support/thread_executor.h"

namespace stepback::kernels::testing {
namespace {

using stepback::testing::ThreadExecutor;

Floats Noise(size_t count, uint32_t seed, float scale = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  Floats values(count);
  for (float& x : values) x = scale * normal(random);
  return values;
}

class MatrixRules : public BackendTest {
 protected:
  // The weights after some steps of a tensor of this shape, from zero weights.
  Floats After(std::string_view name, const std::map<std::string, double>& named,
               const std::vector<uint64_t>& shape, int steps, float scale = 1) {
    const RuleInfo& rule = *FindInnerRule(name);
    size_t count = 1;
    for (const uint64_t extent : shape) count *= extent;
    Trainer trainer(*backend_, rule, Hypers(rule, named), Floats(count, 0.0f));
    trainer.saved().tensors[0].shape = shape;
    for (int step = 0; step < steps; ++step) trainer.Step(Noise(count, 10 + step, scale));
    slots_ = trainer.saved().state.inner[0];
    return trainer.weights();
  }

  Floats slots_;
};
INSTANTIATE_TEST_SUITE_P(On, MatrixRules,
                         ::testing::Values("cpu/generic", "cpu/" + std::string(CpuTargets()[0])),
                         [](const auto& info) { return TestName(info.param); });

// Rows and columns of an orthogonal matrix have length 1; the iteration stops at singular values in 0.7
// .. 1.2.
TEST_P(MatrixRules, MuonStepsAlongANearlyOrthogonalMatrix) {
  const std::map<std::string, double> named = {{"lr", 1}, {"weight_decay", 0}};
  for (const auto& [rows, cols] : {std::pair(16, 40), std::pair(40, 16), std::pair(20, 20)}) {
    const Floats w = After("muon", named, {uint64_t(rows), uint64_t(cols)}, 1);
    const double factor = std::sqrt(std::max(1.0, double(rows) / cols));
    const int side = std::min(rows, cols);
    double sum = 0;
    for (const float x : w) sum += double{x} * x / factor / factor;
    EXPECT_GT(sum, 0.68 * 0.68 * side) << rows << " x " << cols;
    EXPECT_LT(sum, 1.21 * 1.21 * side) << rows << " x " << cols;
  }
}

// Invariant 24; exact for powers of two as long as eps does not enter.
TEST_P(MatrixRules, MuonDoesNotSeeTheSizeOfTheGradient) {
  const std::map<std::string, double> named = {{"lr", 0.1}};
  const Floats one = After("muon", named, {12, 30}, 4);
  EXPECT_EQ(After("muon", named, {12, 30}, 4, 0x1p10f), one);
  EXPECT_EQ(After("muon", named, {12, 30}, 4, 0x1p-8f), one);
}

TEST_P(MatrixRules, MuonTreatsAMatrixAsItTreatsItsTranspose) {
  const RuleInfo& muon = *FindInnerRule("muon");
  const auto hypers = Hypers(muon, {{"lr", 1}, {"match_rms_adamw", 1}, {"weight_decay", 0}});
  const Floats gradient = Noise(7 * 30, 3);
  Floats transposed(gradient.size());
  for (size_t r = 0; r < 7; ++r) {
    for (size_t c = 0; c < 30; ++c) transposed[c * 7 + r] = gradient[r * 30 + c];
  }
  Trainer wide(*backend_, muon, hypers, Floats(210, 0.0f)), tall(*backend_, muon, hypers, Floats(210, 0.0f));
  wide.saved().tensors[0].shape = {7, 30};
  tall.saved().tensors[0].shape = {30, 7};
  wide.Step(gradient);
  tall.Step(transposed);
  for (size_t r = 0; r < 7; ++r) {
    for (size_t c = 0; c < 30; ++c) {
      EXPECT_NEAR(tall.weights()[c * 7 + r], wide.weights()[r * 30 + c], 1e-5) << r << ", " << c;
    }
  }
}

TEST_P(MatrixRules, MuonStaysFiniteWithoutAGradient) {
  const RuleInfo& muon = *FindInnerRule("muon");
  for (const double eps : {1e-7, 0.0}) {
    Trainer trainer(*backend_, muon, Hypers(muon, {{"eps", eps}, {"weight_decay", 0}}), Floats(12, 1.0f));
    EXPECT_TRUE(trainer.Step(Floats(12, 0.0f)).finite);
    EXPECT_EQ(trainer.weights(), Floats(12, 1.0f));
  }
}

// A vector is not factored, so its second moments are its own; the last two dimensions of a stack are.
TEST_P(MatrixRules, AdafactorKeepsRowsAndColumnsOfTheLastTwoDimensions) {
  After("adafactor", {}, {40}, 1);
  const Floats gradient = Noise(40, 10);
  for (size_t i = 0; i < 40; ++i) EXPECT_EQ(slots_[i], gradient[i] * gradient[i]) << "first share is 1";

  After("adafactor", {}, {2, 4, 5}, 1);
  for (size_t matrix = 0; matrix < 2; ++matrix) {
    const float* const g = &gradient[20 * matrix];
    const float* const kept = &slots_[20 * matrix];
    for (size_t r = 0; r < 4; ++r) {
      double sum = 0;
      for (size_t c = 0; c < 5; ++c) sum += double{g[r * 5 + c]} * g[r * 5 + c];
      EXPECT_NEAR(kept[r], sum / 5, 1e-6);
    }
    for (size_t c = 0; c < 5; ++c) {
      double sum = 0;
      for (size_t r = 0; r < 4; ++r) sum += double{g[r * 5 + c]} * g[r * 5 + c];
      EXPECT_NEAR(kept[4 + c], sum / 4, 1e-6);
    }
    for (size_t i = 9; i < 20; ++i) EXPECT_EQ(kept[i], 0.0f) << "of 20 elements 9 are used";
  }
}

// Several tensors, more than are stepped at one time, beside element-wise ones; every input form and policy.
TEST_P(MatrixRules, GiveTheBitsOfTheReferenceInAnyCompanyAndOnAnyNumberOfThreads) {
  ThreadExecutor eight(8);
  for (uint32_t seed = 0; seed < ScenarioCount(150); ++seed) {
    std::mt19937 random(seed);
    Scenario s = RandomScenario(random);
    if (!s.gradient) continue;
    for (TensorCase& tensor : s.tensors) {
      if (tensor.inner_rule < 0 || random() % 4 == 0) continue;
      const RuleInfo& rule = *FindInnerRule(random() % 2 == 0 ? "muon" : "adafactor");
      tensor.inner_rule = rule.id;
      tensor.inner_hypers = RandomHypers(rule, random);
      tensor.carry.assign(kMaxCarry, 1.0);
    }
    s.Prepare();
    const Floats slot = RandomArena(s, random);
    if (s.state.inner[0].empty()) s.state.inner[0] = slot;
    for (float& x : s.state.inner[0]) x = std::abs(x);
    const Outcome expected = RunReference(s);
    ASSERT_EQ(DifferenceOf(RunOn(*backend_, &inline_, s), expected), "") << "seed " << seed;
    ASSERT_EQ(DifferenceOf(RunOn(*backend_, &eight, s), expected), "") << "seed " << seed;
  }
}

TEST_P(MatrixRules, AreSteppedThroughLargeMatricesWithoutATrace) {
  ThreadExecutor eight(8);
  for (const char* name : {"muon", "adafactor"}) {
    const RuleInfo& rule = *FindInnerRule(name);
    Scenario s;
    s.gradient = true;
    Worker worker{.codec = FindCodec("f32")->id, .tensors = {}};
    for (const auto& [rows, cols] : {std::pair(70, 200), std::pair(131, 67), std::pair(256, 40),
                                     std::pair(1, 5000), std::pair(33, 34), std::pair(90, 90)}) {
      s.tensors.push_back({.count = uint64_t(rows) * cols,
                           .shape = {uint64_t(rows), uint64_t(cols)},
                           .inner_rule = rule.id,
                           .inner_hypers = DefaultHypers(rule)});
      worker.tensors.push_back(Encode(worker.codec, Noise(rows * cols, rows)));
    }
    s.workers = {worker};
    s.Prepare();
    std::mt19937 random(5);
    s.state.theta = RandomArena(s, random);
    s.state.inner[0] = Floats(s.arena_floats(), 0.0f);
    const Outcome expected = RunReference(s);
    EXPECT_EQ(DifferenceOf(RunOn(*backend_, &inline_, s), expected), "") << name;
    EXPECT_EQ(DifferenceOf(RunOn(*backend_, &eight, s), expected), "") << name;
  }
}

// Gives memory for so many arrays and no more.
class LimitedAllocator final : public HostAllocator {
 public:
  std::byte* Allocate(size_t bytes) noexcept override {
    if (left == 0) return nullptr;
    --left;
    return static_cast<std::byte*>(std::aligned_alloc(64, (bytes + 63) / 64 * 64));
  }
  void Free(std::byte* p, size_t) noexcept override { std::free(p); }
  int left = 1'000'000;
};

TEST(MatrixRulesMemory, EndingIsAnAnswer) {
  LimitedAllocator allocator;
  const auto backend = MakeCpuBackend("", &allocator);
  const RuleInfo& muon = *FindInnerRule("muon");
  Trainer trainer(*backend, muon, DefaultHypers(muon), Noise(400, 1));
  ASSERT_EQ(trainer.Step(Noise(400, 2)).status, Status::kOk);
  // Theta, the slot and the running sum are allocated by the caller: two each for now and next, and the sum.
  allocator.left = 5;
  Trainer starved(*backend, muon, DefaultHypers(muon), Noise(400, 1));
  EXPECT_EQ(starved.Step(Noise(400, 2)).status, Status::kOutOfMemory);
}

TEST(MatrixRulesTable, MuonRefusesWhatIsNoMatrixInWords) {
  const RuleInfo& muon = *FindInnerRule("muon");
  char error[256] = "";
  const std::vector<uint64_t> matrix = {3, 4}, vector = {3}, kernel = {8, 3, 3, 3};
  EXPECT_TRUE(muon.applies(matrix, error, sizeof error));
  EXPECT_FALSE(muon.applies(vector, error, sizeof error));
  EXPECT_FALSE(muon.applies({}, error, sizeof error));
  EXPECT_FALSE(muon.applies(kernel, error, sizeof error));
  EXPECT_NE(std::string(error).find("adamw"), std::string::npos) << error;
  EXPECT_EQ(FindInnerRule("adafactor")->applies, nullptr);
}

}  // namespace
}  // namespace stepback::kernels::testing
