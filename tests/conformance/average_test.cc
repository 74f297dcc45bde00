// The averages of kernels/rules.h: their tables, golden trajectories, closed forms, and the same bits
// everywhere.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "tests/conformance/backends.h"
#include "tests/conformance/golden.h"
#include "tests/conformance/trainer.h"
#include "tests/support/thread_executor.h"

namespace stepback::kernels::testing {
namespace {

using stepback::testing::ThreadExecutor;

// One average of an arena on one back-end, fed with the slow weights of one sync after another.
class Averager {
 public:
  Averager(Backend& backend, const RuleInfo& rule, const std::map<std::string, double>& named,
           const Floats& initial, std::vector<AverageRun> runs = {})
      : backend_(backend),
        rule_(rule),
        hypers_(Hypers(rule, named)),
        runs_(std::move(runs)),
        elements_(initial.size()) {
    if (runs_.empty()) runs_ = {{0, Padded(initial.size())}};
    average_ = Upload(initial);
  }

  AverageResult Sync(const Floats& phi, Executor* executor = nullptr) {
    InlineExecutor here;
    phi_ = Upload(phi);
    if (!rule_.samples(hypers_, ++sync_)) return {};
    alignas(16) std::byte scalars[256];
    rule_.prepare(hypers_, ++samples_, carry_, scalars);
    auto next = backend_.Allocate(phi_->bytes());
    // What a pass leaves unwritten shows.
    backend_.Fill(next.get(), 12345.0f);
    const AverageResult result = backend_.Average({.rule = rule_.id,
                                                   .scalars = {scalars, rule_.scalars_bytes},
                                                   .runs = runs_,
                                                   .phi = phi_.get(),
                                                   .average = average_.get(),
                                                   .next = next.get()},
                                                  executor != nullptr ? executor : &here);
    average_ = std::move(next);
    return result;
  }

  // What readers see: the slow weights until there is a sample.
  Floats Served() const {
    const Buffer& buffer = samples_ > 0 ? *average_ : *phi_;
    Floats values(elements_);
    backend_.Download(buffer, 0, reinterpret_cast<std::byte*>(values.data()), elements_ * sizeof(float));
    return values;
  }
  int64_t samples() const { return samples_; }

 private:
  static size_t Padded(size_t count) {
    return (count + kArenaAlignFloats - 1) / kArenaAlignFloats * kArenaAlignFloats;
  }
  std::unique_ptr<Buffer> Upload(Floats values) {
    values.resize(Padded(values.size()), 0.0f);
    auto buffer = backend_.Allocate(values.size() * sizeof(float));
    backend_.Upload(buffer.get(), 0, reinterpret_cast<const std::byte*>(values.data()), buffer->bytes());
    return buffer;
  }

  Backend& backend_;
  const RuleInfo& rule_;
  const std::vector<double> hypers_;
  std::vector<AverageRun> runs_;
  const size_t elements_;
  std::unique_ptr<Buffer> phi_, average_;
  int64_t sync_ = 0, samples_ = 0;
  double carry_[kMaxCarry] = {1, 1, 1, 1};
};

Floats Noise(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  Floats values(count);
  for (float& x : values) x = normal(random);
  return values;
}

std::vector<uint32_t> BitsOf(const Floats& values) {
  std::vector<uint32_t> bits(values.size());
  std::memcpy(bits.data(), values.data(), values.size() * sizeof(float));
  return bits;
}

// Those with a step of their own. Extrapolations are computed by the server (core_extrapolation_test).
std::vector<const RuleInfo*> SteppedAverages() {
  std::vector<const RuleInfo*> rules;
  for (const RuleInfo& rule : AverageRules()) {
    if (rule.history == nullptr) rules.push_back(&rule);
  }
  return rules;
}

// --- the tables ---

TEST(AverageTables, HaveAGoldenForEveryAverage) {
  for (const RuleInfo* rule : SteppedAverages()) {
    const auto golden = Goldens().find(std::string(rule->name));
    ASSERT_NE(golden, Goldens().end()) << "tests/golden/" << rule->name << ".json is missing";
    EXPECT_EQ(golden->second.kind, "average");
    EXPECT_FALSE(golden->second.cases.empty()) << rule->name;
  }
}

TEST(AverageTables, HaveSaneBoundsDefaultsAndWords) {
  for (const RuleInfo& rule : AverageRules()) {
    EXPECT_EQ(rule.kind, RuleKind::kAverage);
    EXPECT_EQ(&AverageRules()[rule.id], &rule);
    EXPECT_EQ(FindAverageRule(rule.name), &rule);
    EXPECT_TRUE(FindInnerRule(rule.name) == nullptr && FindOuterRule(rule.name) == nullptr) << rule.name;
    EXPECT_FALSE(rule.citation.empty()) << rule.name;
    EXPECT_TRUE(rule.slots.empty()) << rule.name << ": the average itself is all the state";
    ASSERT_NE(rule.samples, nullptr) << rule.name;
    for (const HyperInfo& hyper : rule.hypers) {
      SCOPED_TRACE(std::string(rule.name) + "." + std::string(hyper.name));
      EXPECT_FALSE(hyper.doc.empty());
      EXPECT_LE(hyper.min, hyper.default_value);
      EXPECT_TRUE(hyper.max_open ? hyper.default_value < hyper.max : hyper.default_value <= hyper.max);
    }
  }
}

TEST(AverageTables, SayWhichSyncsAreSampled) {
  const auto sampled = [](const char* name, const std::map<std::string, double>& named) {
    const RuleInfo& rule = *FindAverageRule(name);
    std::vector<int> syncs;
    for (int sync = 1; sync <= 9; ++sync) {
      if (rule.samples(Hypers(rule, named), sync)) syncs.push_back(sync);
    }
    return syncs;
  };
  EXPECT_EQ(sampled("ema", {}), (std::vector<int>{1, 2, 3, 4, 5, 6, 7, 8, 9}));
  EXPECT_EQ(sampled("polyak", {{"start", 7}}), (std::vector<int>{7, 8, 9}));
  EXPECT_EQ(sampled("swa", {{"start", 2}, {"period", 3}}), (std::vector<int>{2, 5, 8}));
  EXPECT_EQ(sampled("swa", {{"start", 10}}), std::vector<int>{});
}

// --- trajectories ---

class Averages : public BackendTest {};
INSTANTIATE_FOR_BACKENDS(Averages);

TEST_P(Averages, FollowTheirGoldenTrajectories) {
  for (const RuleInfo* rule : SteppedAverages()) {
    const Golden& golden = Goldens().at(std::string(rule->name));
    for (const GoldenCase& one : golden.cases) {
      SCOPED_TRACE(golden.rule + "/" + one.name);
      Averager averager(*backend_, *rule, one.hypers, Floats(golden.start.begin(), golden.start.end()));
      double largest = 0;
      for (const Vector& values : one.trajectory) {
        for (const double value : values) largest = std::max(largest, std::abs(value));
      }
      ASSERT_EQ(one.trajectory.size(), golden.inputs.size());
      for (size_t sync = 0; sync < golden.inputs.size(); ++sync) {
        EXPECT_TRUE(averager.Sync(Floats(golden.inputs[sync].begin(), golden.inputs[sync].end())).finite);
        const Floats served = averager.Served();
        for (size_t i = 0; i < served.size(); ++i) {
          EXPECT_NEAR(served[i], one.trajectory[sync][i], 5e-6 * largest) << "sync " << sync + 1;
        }
      }
    }
  }
}

// Invariant 32.
TEST_P(Averages, OfConstantWeightsAreThoseWeightsBitForBit) {
  const Floats phi = Noise(300, 1);
  for (const RuleInfo* rule : SteppedAverages()) {
    Averager averager(*backend_, *rule, {}, phi);
    for (int sync = 0; sync < 40; ++sync) averager.Sync(phi);
    EXPECT_EQ(BitsOf(averager.Served()), BitsOf(phi)) << rule->name;
  }
  Averager plain(*backend_, *FindAverageRule("ema"), {{"decay", 0.7}, {"debias", 0}}, phi);
  for (int sync = 0; sync < 40; ++sync) plain.Sync(phi);
  EXPECT_EQ(BitsOf(plain.Served()), BitsOf(phi));
}

// Invariant 32, with what arithmetic would not leave alone: signed zeros, huge and tiny numbers.
TEST_P(Averages, EmaWithoutDecayIsTheNewestSampleBitForBit) {
  for (const double debias : {0.0, 1.0}) {
    Averager averager(*backend_, *FindAverageRule("ema"), {{"decay", 0}, {"debias", debias}},
                      {3e38f, 1, 1, 0});
    averager.Sync({1, 2, 3, 4});
    const Floats newest = {-3e38f, -0.0f, 1e-42f, 0.1f};
    EXPECT_TRUE(averager.Sync(newest).finite);
    EXPECT_EQ(BitsOf(averager.Served()), BitsOf(newest)) << "debias " << debias;
  }
}

TEST_P(Averages, StartWithACopyOfTheirFirstSample) {
  const Floats first = {-0.0f, 3e38f, 1e-42f, 7};
  for (const RuleInfo* rule : SteppedAverages()) {
    Averager averager(*backend_, *rule, {}, {-3e38f, -3e38f, 5, 5});
    EXPECT_TRUE(averager.Sync(first).finite);
    EXPECT_EQ(BitsOf(averager.Served()), BitsOf(first)) << rule->name;
  }
}

// In fp64: sum of (1 - d) d^(N - i) x_i / (1 - d^N), and the plain mean, over many samples.
TEST_P(Averages, AgreeWithTheirClosedFormsAfterManySamples) {
  constexpr int kSyncs = 500;
  constexpr size_t kCount = 20;
  const double decay = 0.98;
  Averager ema(*backend_, *FindAverageRule("ema"), {{"decay", decay}}, Floats(kCount, 9.0f));
  Averager polyak(*backend_, *FindAverageRule("polyak"), {{"start", 101}}, Floats(kCount, 9.0f));
  Vector weighted(kCount), sum(kCount);
  for (int sync = 1; sync <= kSyncs; ++sync) {
    const Floats phi = Noise(kCount, static_cast<uint32_t>(sync));
    ema.Sync(phi);
    polyak.Sync(phi);
    for (size_t i = 0; i < kCount; ++i) {
      weighted[i] += (1 - decay) * std::pow(decay, kSyncs - sync) * phi[i];
      if (sync > 100) sum[i] += phi[i];
    }
  }
  for (size_t i = 0; i < kCount; ++i) {
    EXPECT_NEAR(ema.Served()[i], weighted[i] / (1 - std::pow(decay, kSyncs)), 2e-6);
    EXPECT_NEAR(polyak.Served()[i], sum[i] / (kSyncs - 100), 2e-6);
  }
  EXPECT_EQ(polyak.samples(), kSyncs - 100);
}

// SWA of period 1 and Polyak are one rule.
TEST_P(Averages, SwaOfEverySyncIsPolyakBitForBit) {
  Averager swa(*backend_, *FindAverageRule("swa"), {{"start", 3}}, Noise(100, 1));
  Averager polyak(*backend_, *FindAverageRule("polyak"), {{"start", 3}}, Noise(100, 2));
  for (uint32_t sync = 0; sync < 12; ++sync) {
    swa.Sync(Noise(100, 10 + sync));
    polyak.Sync(Noise(100, 10 + sync));
  }
  EXPECT_EQ(BitsOf(swa.Served()), BitsOf(polyak.Served()));
}

// --- bits, bytes and faults ---

// The equation once more, an element at a time, in the fp32 operations that the rules promise.
float Expected(float x, float average, float share) {
  if (share == 1.0f) return x;
  return share < 0.5f ? std::fma(share, x - average, average) : std::fma(share - 1.0f, x - average, x);
}

TEST_P(Averages, GiveTheSameBitsOnEveryBackEndAndAnyNumberOfThreads) {
  const size_t count = ScenarioCount(15) > 1 ? 400'000 : 3'000;  // several tasks; fibers are slow
  Averager one(*backend_, *FindAverageRule("ema"), {{"decay", 0.3}}, Noise(count, 1));
  Averager eight(*backend_, *FindAverageRule("ema"), {{"decay", 0.3}}, Noise(count, 1));
  ThreadExecutor threads(8);
  Floats expected(count, 0.0f);
  double power = 1;
  for (uint32_t sync = 0; sync < 4; ++sync) {
    const Floats phi = Noise(count, 20 + sync);
    one.Sync(phi);
    eight.Sync(phi, &threads);
    power *= 0.3;
    const auto share = static_cast<float>((1 - 0.3) / (1 - power));
    for (size_t i = 0; i < count; ++i) expected[i] = Expected(phi[i], expected[i], share);
  }
  EXPECT_TRUE(BitsOf(one.Served()) == BitsOf(expected));
  EXPECT_TRUE(BitsOf(eight.Served()) == BitsOf(expected));
}

// Carried and frozen tensors are not numbers: the newest bytes, whatever they would mean as floats.
TEST_P(Averages, PassBytesThrough) {
  Floats phi = Noise(64, 1);
  for (size_t i = 16; i < 40; ++i) phi[i] = std::bit_cast<float>(0x7f800001u + static_cast<uint32_t>(i));
  const std::vector<AverageRun> runs = {{0, 16, true}, {16, 32, false}, {48, 16, true}};
  Averager averager(*backend_, *FindAverageRule("polyak"), {}, Noise(64, 2), runs);
  averager.Sync(Noise(64, 3));
  EXPECT_TRUE(averager.Sync(phi).finite);
  const auto served = BitsOf(averager.Served()), given = BitsOf(phi);
  for (size_t i = 16; i < 48; ++i) EXPECT_EQ(served[i], given[i]) << i;
  for (size_t i = 0; i < 16; ++i) EXPECT_NE(served[i], given[i]) << i;
}

TEST_P(Averages, TellWhenAResultIsNotFinite) {
  Averager averager(*backend_, *FindAverageRule("polyak"), {}, {1, 1});
  EXPECT_TRUE(averager.Sync({3e38f, 1}).finite);
  EXPECT_FALSE(averager.Sync({-3e38f, 1}).finite) << "the difference of the two overflows";
}

}  // namespace
}  // namespace stepback::kernels::testing
