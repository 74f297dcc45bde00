// Every aggregator of the list in kernels/aggregators.h: its table, its golden vectors, and what its
// definition promises.
#include <algorithm>
#include <bit>
#include <cmath>
#include <set>

#include "kernels/cpu/dispatch.h"
#include "tests/conformance/aggregation.h"
#include "tests/conformance/backends.h"
#include "tests/conformance/golden.h"
#include "tests/support/thread_executor.h"

namespace stepback::kernels::testing {
namespace {

using ::stepback::testing::ThreadExecutor;

Floats Noise(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  Floats values(count);
  for (float& x : values) x = normal(random);
  return values;
}

std::vector<uint32_t> Bits(const Floats& values) {
  std::vector<uint32_t> bits;
  for (const float x : values) bits.push_back(std::bit_cast<uint32_t>(x));
  return bits;
}

// The first element that differs, in words; "" when none does. Among values that are equal, and zeros of both signs
// are, a sorting network may leave another one in the middle than another sort does.
std::string Difference(const Floats& a, const Floats& b) {
  if (a.size() != b.size()) return "sizes " + std::to_string(a.size()) + " and " + std::to_string(b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    const bool zeros = a[i] == 0 && b[i] == 0;
    if (zeros || std::bit_cast<uint32_t>(a[i]) == std::bit_cast<uint32_t>(b[i])) continue;
    return "element " + std::to_string(i) + ": " + std::to_string(a[i]) + " and " + std::to_string(b[i]);
  }
  return "";
}

// Values that suit rounds of seven contributions and more.
std::vector<AggregatorCase> AllCases() {
  return {{"mean"},
          {"coordinate_median"},
          {"trimmed_mean", {{"beta", 0.3}}},
          {"krum", {{"f", 2}}},
          {"multi_krum", {{"f", 2}}},
          {"multi_krum", {{"f", 1}, {"m", 3}}},
          {"bulyan", {{"f", 1}}},
          {"bulyan", {{"f", 0}}},
          {"median_norm_clip"}};
}

// --- the tables ---

TEST(AggregatorTables, NameEveryAggregatorOnceWithAGoldenBoundsAndWords) {
  std::set<std::string> names;
  for (const AggregatorInfo& info : Aggregators()) {
    SCOPED_TRACE(info.name);
    for (const char c : info.name) EXPECT_TRUE(std::islower(c) || c == '_');
    EXPECT_TRUE(names.insert(std::string(info.name)).second);
    EXPECT_EQ(FindAggregator(info.name), &info);
    EXPECT_EQ(&Aggregators()[info.id], &info);
    EXPECT_FALSE(info.citation.empty());
    EXPECT_TRUE(AggregatorGoldens().contains(std::string(info.name)));
    EXPECT_TRUE(info.keep == nullptr || info.combine == nullptr);
    EXPECT_EQ(info.choose != nullptr, info.compares());
    for (const HyperInfo& hyper : info.hypers) {
      EXPECT_FALSE(hyper.doc.empty()) << hyper.name;
      EXPECT_LE(hyper.min, hyper.default_value) << hyper.name;
      EXPECT_LT(hyper.default_value, hyper.max) << hyper.name;
    }
  }
  for (const auto& [name, golden] : AggregatorGoldens()) EXPECT_TRUE(names.contains(name)) << name;
  EXPECT_EQ(FindAggregator("median"), nullptr);
}

TEST(AggregatorTables, SayHowManyContributionsTheyNeed) {
  const auto least = [](const AggregatorCase& c) { return c.info().least(c.hypers()); };
  EXPECT_EQ(least({"mean"}), 1u);
  EXPECT_EQ(least({"coordinate_median"}), 1u);
  EXPECT_EQ(least({"trimmed_mean", {{"beta", 0.49}}}), 1u);
  EXPECT_EQ(least({"median_norm_clip"}), 1u);
  EXPECT_EQ(least({"krum", {{"f", 0}}}), 3u);
  EXPECT_EQ(least({"krum", {{"f", 3}}}), 9u);
  EXPECT_EQ(least({"multi_krum", {{"f", 3}}}), 9u);
  EXPECT_EQ(least({"multi_krum", {{"f", 1}, {"m", 20}}}), 21u);
  EXPECT_EQ(least({"bulyan", {{"f", 3}}}), 15u);
}

// What an aggregator may be asked for fits its most contributions.
TEST(AggregatorTables, BoundTheirHyperparametersByTheirMostContributions) {
  for (const AggregatorInfo& info : Aggregators()) {
    for (size_t i = 0; i < info.hypers.size(); ++i) {
      std::vector<double> hypers = AggregatorCase{std::string(info.name)}.hypers();
      if (info.hypers[i].name == "f") hypers[i] = info.hypers[i].max;
      EXPECT_LE(info.least(hypers), info.most) << info.name;
    }
  }
}

// n > 2 b for every n and every beta below one half, however the product rounds.
TEST(AggregatorTables, TrimmedMeanAlwaysLeavesAValue) {
  const AggregatorInfo& info = *FindAggregator("trimmed_mean");
  for (const double beta : {0.0, 0.1, 0.2, 0.3, 0.49, std::nextafter(0.5, 0)}) {
    for (size_t n = 1; n <= kContributionsMax; ++n) {
      const Ranks kept = info.keep(HyperSpan(&beta, 1), n);
      ASSERT_GE(kept.count, 1u) << beta << " " << n;
      ASSERT_EQ(2 * kept.first + kept.count, n) << beta << " " << n;
      ASSERT_LE(static_cast<double>(kept.first), beta * static_cast<double>(n)) << beta << " " << n;
    }
  }
}

// --- sorting ---

class SortedColumns : public ::testing::TestWithParam<std::string> {
 protected:
  void Sort(std::vector<Floats>* rows) {
    std::vector<float*> starts;
    for (Floats& row : *rows) starts.push_back(row.data());
    cpu::FindTarget(GetParam())->loops->sort_rows(starts.data(), rows->size(), rows->front().size());
  }
};
INSTANTIATE_TEST_SUITE_P(On, SortedColumns, ::testing::ValuesIn([] {
                           std::vector<std::string> names;
                           for (const std::string_view target : CpuTargets()) names.emplace_back(target);
                           return names;
                         }()),
                         [](const auto& info) { return info.param; });

// A network that sorts all zeros and ones sorts everything (Knuth 5.3.4, theorem Z).
TEST_P(SortedColumns, SortEveryPatternOfZerosAndOnes) {
  for (size_t n = 1; n <= 11; ++n) {
    std::vector<Floats> rows(n, Floats(size_t{1} << n));
    for (size_t pattern = 0; pattern < rows[0].size(); ++pattern) {
      for (size_t k = 0; k < n; ++k) rows[k][pattern] = pattern >> k & 1 ? 1.0f : 0.0f;
    }
    Sort(&rows);
    for (size_t pattern = 0; pattern < rows[0].size(); ++pattern) {
      const size_t zeros = n - static_cast<size_t>(std::popcount(pattern));
      for (size_t k = 0; k < n; ++k)
        ASSERT_EQ(rows[k][pattern], k < zeros ? 0.0f : 1.0f) << n << " " << pattern;
    }
  }
}

TEST_P(SortedColumns, SortAnyNumberOfRowsAndAnyLength) {
  for (const size_t n : {12, 13, 16, 17, 31, 33, 64, 65, 100, 257}) {
    for (const size_t length : {1, 63, 64, 130}) {
      std::vector<Floats> rows;
      for (size_t k = 0; k < n; ++k) rows.push_back(Noise(length, static_cast<uint32_t>(1000 * n + k)));
      std::vector<Floats> sorted = rows;
      Sort(&sorted);
      for (size_t i = 0; i < length; ++i) {
        Floats before, after;
        for (size_t k = 0; k < n; ++k) before.push_back(rows[k][i]), after.push_back(sorted[k][i]);
        std::sort(before.begin(), before.end());
        ASSERT_EQ(before, after) << n << " rows, column " << i << " of " << length;
      }
    }
  }
}

// --- every aggregator ---

class Aggregate : public BackendTest {
 protected:
  Floats Of(const AggregatorCase& aggregator, const std::vector<Floats>& contributions) {
    return Run(aggregator, contributions).sum;
  }
  std::vector<double> SharesOf(const AggregatorCase& aggregator, const std::vector<Floats>& contributions) {
    return Run(aggregator, contributions).shares;
  }
  Aggregated Run(const AggregatorCase& aggregator, const std::vector<Floats>& contributions) {
    Aggregated result = AggregateOn(*backend_, &inline_, RoundOf(contributions), aggregator);
    EXPECT_EQ(result.status, Status::kOk);
    result.sum.resize(contributions.front().size());
    return result;
  }
};
INSTANTIATE_FOR_BACKENDS(Aggregate);

TEST_P(Aggregate, FollowTheirGoldens) {
  for (const auto& [name, golden] : AggregatorGoldens()) {
    for (const GoldenCase& one : golden.cases) {
      const AggregatorCase aggregator{name, one.hypers};
      std::vector<Floats> contributions;
      for (size_t n = 1; n <= golden.inputs.size(); ++n) {
        contributions.emplace_back(golden.inputs[n - 1].begin(), golden.inputs[n - 1].end());
        SCOPED_TRACE(name + "/" + one.name + " of " + std::to_string(n));
        ASSERT_EQ(n >= aggregator.info().least(aggregator.hypers()), !one.trajectory[n - 1].empty());
        if (one.trajectory[n - 1].empty()) continue;
        const Floats got = Of(aggregator, contributions);
        for (size_t i = 0; i < got.size(); ++i) {
          const double expected = one.trajectory[n - 1][i];
          EXPECT_NEAR(got[i], expected, 1e-6 * std::max(1.0, std::abs(expected))) << i;
        }
      }
    }
  }
}

// Codecs, weights (loss scales), absent, averaged and carried tensors, slices cut anywhere.
TEST_P(Aggregate, HaveTheBitsOfASecondImplementation) {
  for (uint32_t seed = 1; seed <= ScenarioCount(60); ++seed) {
    std::mt19937 random(seed);
    const size_t workers = 7 + random() % 15;
    for (const AggregatorCase& aggregator : AllCases()) {
      const Scenario s = RandomRound(random, workers, aggregator.info().compares());
      const Aggregated got = AggregateOn(*backend_, &inline_, s, aggregator);
      const Aggregated expected = ReferenceAggregate(s, aggregator);
      ASSERT_EQ(got.status, Status::kOk);
      ASSERT_EQ(got.shares, expected.shares) << aggregator.name << " seed " << seed;
      ASSERT_EQ(Difference(got.sum, expected.sum), "") << aggregator.name << " seed " << seed;
    }
  }
}

TEST_P(Aggregate, GiveTheSameBitsWithOneAndEightThreads) {
  ThreadExecutor one(1), eight(8);
  std::vector<Floats> contributions;
  for (uint32_t i = 0; i < 9; ++i) contributions.push_back(Noise(600'003, i));
  const Scenario s = RoundOf(contributions);
  for (const AggregatorCase& aggregator : AllCases()) {
    const Aggregated a = AggregateOn(*backend_, &one, s, aggregator),
                     b = AggregateOn(*backend_, &eight, s, aggregator);
    EXPECT_EQ(a.shares, b.shares) << aggregator.name;
    EXPECT_EQ(Bits(a.sum), Bits(b.sum)) << aggregator.name;
  }
}

TEST_P(Aggregate, OfIdenticalContributionsIsTheContribution) {
  const Floats x = Noise(1500, 1);
  for (const AggregatorCase& aggregator : AllCases()) {
    for (const size_t n : {7, 8, 12}) EXPECT_EQ(Of(aggregator, {n, x}), x) << aggregator.name << " of " << n;
  }
}

TEST_P(Aggregate, LeaveContributionsOfWeightZeroOutUnread) {
  for (const AggregatorCase& aggregator : AllCases()) {
    std::vector<Floats> contributions;
    for (uint32_t i = 0; i < 8; ++i) contributions.push_back(Noise(100, i));
    const Floats without = Of(aggregator, contributions);
    contributions.insert(contributions.begin() + 3, Floats(100, std::nanf("")));
    Scenario s = RoundOf(contributions);
    s.workers[3].weight = 0;
    Aggregated with = AggregateOn(*backend_, &inline_, s, aggregator);
    EXPECT_EQ(with.shares[3], 0) << aggregator.name;
    with.sum.resize(100);
    EXPECT_EQ(Bits(with.sum), Bits(without)) << aggregator.name;
  }
}

// A commit takes the result as its sum, in the very buffer that becomes the next weights.
TEST_P(Aggregate, OfTheMeanIsTheOrderedMeanOfACommit) {
  for (uint32_t seed = 1; seed <= ScenarioCount(20); ++seed) {
    std::mt19937 random(seed);
    Scenario s = RandomRound(random, 2 + random() % 6, true);
    for (TensorCase& tensor : s.tensors) {
      if (tensor.action == TensorAction::kCarried) tensor.action = TensorAction::kKeep;
    }
    for (Worker& worker : s.workers) worker.weight = 1;
    s.input = Input::kStaged;
    s.outer_rule = FindOuterRule("average")->id;
    s.outer_hypers = {1.0};
    s.Prepare();
    s.state.phi = Floats(s.arena_floats(), 0.0f);
    Floats mean = RunOn(*backend_, &inline_, s).next.phi;
    for (float& x : mean) x = 0.0f - x;
    Floats sum = AggregateOn(*backend_, &inline_, s, {"mean"}).sum;
    for (float& x : sum) x = 0.0f + x;  // -0 to 0, as 0 - (0 - x) does
    EXPECT_EQ(Bits(sum), Bits(mean)) << seed;
  }
}

// --- coordinate-wise ones ---

TEST_P(Aggregate, TrimmedMeanThatDropsNothingIsTheMeanBitForBit) {
  for (uint32_t seed = 1; seed <= ScenarioCount(10); ++seed) {
    std::mt19937 random(seed);
    const Scenario s = RandomRound(random, 9, false);
    const Floats mean = AggregateOn(*backend_, &inline_, s, {"mean"}).sum;
    EXPECT_EQ(Bits(AggregateOn(*backend_, &inline_, s, {"trimmed_mean", {{"beta", 0}}}).sum), Bits(mean))
        << seed;
    EXPECT_EQ(Bits(AggregateOn(*backend_, &inline_, s, {"trimmed_mean", {{"beta", 0.11}}}).sum), Bits(mean))
        << seed;
  }
}

TEST_P(Aggregate, MedianIsTheMiddleValueOrTheMeanOfTheTwoMiddleOnes) {
  EXPECT_EQ(Of({"coordinate_median"}, {{9, 1}, {1, 2}, {5, 3}}), Floats({5, 2}));
  EXPECT_EQ(Of({"coordinate_median"}, {{9, 1}, {1, 2}, {5, 3}, {6, 100}}), Floats({5.5, 2.5}));
  EXPECT_EQ(Of({"coordinate_median"}, {{9, 1}, {1, 2}}), Floats({5, 1.5}));
  EXPECT_EQ(Of({"coordinate_median"}, {{7, -7}}), Floats({7, -7}));
}

TEST_P(Aggregate, MedianDoesNotMoveWithAnOutlierThatGrows) {
  std::vector<Floats> contributions;
  for (uint32_t i = 0; i < 9; ++i) contributions.push_back(Noise(300, i));
  contributions[4] = Floats(300, 10.0f);
  const Floats before = Of({"coordinate_median"}, contributions);
  for (const float outlier : {1e3f, 1e20f, 3e38f}) {
    contributions[4] = Floats(300, outlier);
    EXPECT_EQ(Of({"coordinate_median"}, contributions), before) << outlier;
  }
}

TEST_P(Aggregate, TrimmedMeanDropsTheLargestAndSmallestOfEveryElement) {
  const std::vector<Floats> five = {{1, 10}, {2, 20}, {3, 30}, {4, -3e38f}, {3e38f, 50}};
  EXPECT_EQ(Of({"trimmed_mean", {{"beta", 0.2}}}, five), Floats({3, 20}));
  EXPECT_EQ(Of({"trimmed_mean", {{"beta", 0.4}}}, five), Floats({3, 20}));
  EXPECT_EQ(Of({"trimmed_mean", {{"beta", 0.49}}}, {{1, 5}, {2, 6}}), Floats({1.5, 5.5}))
      << "nothing to drop of two";
}

TEST_P(Aggregate, CoordinateWiseOnesTakeEachTensorFromThoseThatSentIt) {
  Scenario s = RoundOf({{1}, {2}, {30}});
  s.tensors.push_back({.count = 1});
  const int f32 = FindCodec("f32")->id;
  s.workers[0].tensors.push_back(Encode(f32, {7}));
  s.workers[1].tensors.push_back({});
  s.workers[2].tensors.push_back(Encode(f32, {9}));
  const Aggregated result = AggregateOn(*backend_, &inline_, s, {"coordinate_median"});
  EXPECT_EQ(result.sum[0], 2);
  EXPECT_EQ(result.sum[kArenaAlignFloats], 8);
  EXPECT_EQ(result.shares, std::vector<double>({1, 1, 1}));
}

// --- those that compare ---

TEST_P(Aggregate, KrumReturnsOneOfItsInputsBitForBit) {
  for (uint32_t seed = 1; seed <= ScenarioCount(20); ++seed) {
    std::mt19937 random(seed);
    std::vector<Floats> contributions;
    for (uint32_t i = 0; i < 3 + random() % 9; ++i) contributions.push_back(Noise(1100, 100 * seed + i));
    contributions[1][5] = -0.0f;
    const Aggregated result = Run({"krum", {{"f", 0}}}, contributions);
    const auto chosen = std::find(result.shares.begin(), result.shares.end(), 1.0) - result.shares.begin();
    ASSERT_LT(chosen, static_cast<ptrdiff_t>(contributions.size()));
    EXPECT_EQ(std::count(result.shares.begin(), result.shares.end(), 0.0), result.shares.size() - 1);
    EXPECT_EQ(Bits(result.sum), Bits(contributions[chosen])) << seed;
  }
}

TEST_P(Aggregate, KrumTakesTheFirstOfEqualScores) {
  const Floats x = Noise(50, 1), far(50, 100.0f);
  EXPECT_EQ(SharesOf({"krum", {{"f", 1}}}, {far, x, x, x, x}), std::vector<double>({0, 1, 0, 0, 0}));
  EXPECT_EQ(SharesOf({"krum", {{"f", 1}}}, {x, x, x, x, x}), std::vector<double>({1, 0, 0, 0, 0}));
  EXPECT_EQ(SharesOf({"multi_krum", {{"f", 1}, {"m", 2}}}, {far, x, x, x, x}),
            std::vector<double>({0, 1, 1, 0, 0}));
}

// A contribution is no neighbour of itself, and its duplicates are. n = 5, f = 1: two neighbours count.
TEST_P(Aggregate, KrumLeavesItselfOutByIndexAndCountsDuplicates) {
  // Scores 4, 4, 5, 2, 5; with themselves as neighbours the two zeros would have 0.
  EXPECT_EQ(SharesOf({"krum", {{"f", 1}}}, {{0}, {0}, {2}, {3}, {4}}), std::vector<double>({0, 0, 0, 1, 0}));
  // Scores 4, 4, 8, 8, 20; without their duplicate the two zeros would have 20.
  EXPECT_EQ(SharesOf({"krum", {{"f", 1}}}, {{0}, {0}, {2}, {4}, {6}}), std::vector<double>({1, 0, 0, 0, 0}));
}

// n = 7, f = 1: four neighbours count. Squared distances choose 9, their squares (fourth powers) 7, their
// roots 2.
TEST_P(Aggregate, KrumAddsSquaredDistances) {
  EXPECT_EQ(SharesOf({"krum", {{"f", 1}}}, {{0}, {1}, {2}, {7}, {9}, {12}, {13}}),
            std::vector<double>({0, 0, 0, 0, 1, 0, 0}));
}

TEST_P(Aggregate, SelectionsKeepFarOutliersOut) {
  for (const size_t n : {11, 15}) {
    std::vector<Floats> contributions;
    for (uint32_t i = 0; i < n; ++i) contributions.push_back(Noise(2000, i));
    contributions[0] = Floats(2000, 3e38f);
    contributions[n - 1] = Floats(2000, -3e38f);
    for (const AggregatorCase& aggregator :
         {AggregatorCase{"krum", {{"f", 2}}}, {"multi_krum", {{"f", 2}}}, {"bulyan", {{"f", 2}}}}) {
      const Aggregated result = Run(aggregator, contributions);
      EXPECT_EQ(result.shares[0] + result.shares[n - 1], 0) << aggregator.name << " of " << n;
      for (const float x : result.sum) ASSERT_LT(std::abs(x), 10) << aggregator.name;
    }
  }
}

TEST_P(Aggregate, BulyanSelectsNMinus2FAndAveragesAroundTheirMedian) {
  // f = 1, n = 7: five are chosen; of their values the three closest to the median.
  const std::vector<Floats> contributions = {{1, 0}, {2, 5}, {3, 0}, {4, 0}, {2.5f, -4}, {100, 0}, {-900, 0}};
  const Aggregated result = Run({"bulyan", {{"f", 1}}}, contributions);
  EXPECT_EQ(result.shares, std::vector<double>({1, 1, 1, 1, 1, 0, 0}));
  EXPECT_EQ(result.sum, Floats({2.5f, 0}));
}

// When few are left, a far one and its only neighbour score alike, and the first wins. The values decide then.
TEST_P(Aggregate, BulyanBoundsAnAttackerThatWasSelected) {
  const std::vector<Floats> contributions = {{1, 0}, {2, 5}, {3, 0}, {4, 0}, {100, 0}, {2.5f, -4}, {-900, 0}};
  const Aggregated result = Run({"bulyan", {{"f", 1}}}, contributions);
  EXPECT_EQ(result.shares[4], 1);
  for (const float x : result.sum) EXPECT_LE(std::abs(x), 4);
}

TEST_P(Aggregate, NormClipScalesTheLargeOnesToTheMedianNorm) {
  const Aggregated result = Run({"median_norm_clip"}, {{3, 4}, {0, 0}, {5, 0}, {0, 5000}, {30, 40}});
  EXPECT_EQ(result.shares, std::vector<double>({1, 1, 1, 5.0 / 5000, 5.0 / 50}));
  EXPECT_FLOAT_EQ(result.sum[0], (3 + 0 + 5 + 0 + 3) / 5.0f);
  EXPECT_FLOAT_EQ(result.sum[1], (4 + 0 + 0 + 5 + 4) / 5.0f);
}

TEST_P(Aggregate, NormClipOfZerosIsZero) {
  EXPECT_EQ(Of({"median_norm_clip"}, {{0, 0}, {0, 0}, {0, 0}}), Floats({0, 0}));
  EXPECT_EQ(Of({"median_norm_clip"}, {{0, 0}, {0, 0}, {8, 0}}), Floats({0, 0})) << "the median norm is 0";
}

TEST_P(Aggregate, CarriedTensorsComeFromTheNewestOfTheSelected) {
  Scenario s = RoundOf({{1}, {1}, {1}, {1}, {50}});
  s.tensors.push_back({.count = 2, .action = TensorAction::kCarried, .carried_bytes = 7});
  for (size_t i = 0; i < 5; ++i) s.workers[i].tensors.push_back(Bytes(7, static_cast<std::byte>(i + 1)));
  const auto carried = [&](const AggregatorCase& aggregator) {
    const Floats sum = AggregateOn(*backend_, &inline_, s, aggregator).sum;
    return std::string(reinterpret_cast<const char*>(&sum[kArenaAlignFloats]), 7);
  };
  EXPECT_EQ(carried({"krum", {{"f", 1}}}), std::string(7, 1));
  EXPECT_EQ(carried({"multi_krum", {{"f", 1}}}), std::string(7, 4));
  EXPECT_EQ(carried({"coordinate_median"}), std::string(7, 5));
}

// Every count of contributions up to the most that are compared, more attackers than any definition allows
// included: a round that a specification's checks would refuse must not read or write out of bounds.
TEST_P(Aggregate, StayInBoundsBelowTheirLeastContributions) {
  for (const AggregatorInfo& info : Aggregators()) {
    AggregatorCase aggregator{std::string(info.name)};
    for (const HyperInfo& hyper : info.hypers)
      aggregator.named[std::string(hyper.name)] = hyper.integer ? hyper.max : 0.4999;
    for (const size_t n : {1, 2, 3, 5}) {
      const Aggregated result = Run(aggregator, {n, Floats({1, 2, 3})});
      EXPECT_EQ(result.sum, Floats({1, 2, 3})) << info.name << " of " << n;
    }
  }
}

}  // namespace
}  // namespace stepback::kernels::testing
