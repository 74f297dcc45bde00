// Random models, workers and pushes against a second implementation in fp64; and the same history on every
// instruction set, with one and with eight threads, in whole and in cut payloads: the same bits.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "server/base/thread_executor.h"
#include "tests/unit/core_reference_model.h"
#include "tests/unit/core_support.h"

namespace stepback::core_test {
namespace {

class History {
 public:
  explicit History(uint64_t seed) : random_(seed) {}

  ModelSpec MakeSpec() {
    ModelSpec spec;
    spec.name = "m";
    // More than one cache block, a tail, a scalar, an empty one, and every role.
    spec.tensors = {Trained("w", {41, 113}),
                    Trained("b", {19}),
                    Trained("scale", {}),
                    Trained("empty", {0, 3}),
                    {"bn.mean", {33}, DataType::kF32, Role::kAveraged},
                    {"bn.count", {}, DataType::kI64, Role::kCarried},
                    {"flags", {7}, DataType::kBool, Role::kCarried},
                    {"base", {21}, DataType::kBf16, Role::kFrozen},
                    Trained("head", {64, 3})};
    spec.mode = Flip() ? Mode::kGradient : Mode::kDelta;
    const bool gradient = spec.mode == Mode::kGradient;
    spec.outer = OuterRule(gradient);
    if (gradient) {
      spec.inner = InnerRule();
      spec.sync_period = 1 + Below(4);
      AddGroups(&spec);
      const bool has_alpha = spec.outer.name == "lookahead" || spec.outer.name == "average";
      if (spec.outer.name != "none") spec.inner_state = static_cast<InnerState>(1 + Below(has_alpha ? 3 : 2));
    }
    AddRounds(&spec.rounds);
    AddClip(&spec.clip);
    return spec;
  }

  PushData MakeData(const ModelSpec& spec, bool all_present, const std::string& codec) {
    PushData data;
    for (const TensorSpec& tensor : spec.tensors) {
      TensorData entry{.present = all_present || Below(5) > 0};
      uint64_t elements = 1;
      for (const uint64_t dim : tensor.shape) elements *= dim;
      if (tensor.role == Role::kCarried) {
        for (uint64_t i = 0; i < elements * BytesOf(tensor.dtype); ++i)
          entry.bytes += static_cast<char>(random_());
      } else {
        entry.floats = Rounded(RandomFloats(&random_, elements), codec);
      }
      data.push_back(std::move(entry));
    }
    return data;
  }

  // What arrives of the numbers in the codec's form.
  static Floats Rounded(Floats floats, const std::string& codec) {
    const kernels::CodecInfo& form = *kernels::FindCodec(codec);
    std::vector<std::byte> bytes(form.encoded_bytes(floats.size()));
    form.encode(floats.data(), floats.size(), bytes.data());
    form.decode(bytes.data(), floats.size(), floats.data());
    return floats;
  }

  uint64_t Below(uint64_t bound) { return random_() % bound; }
  bool Flip() { return Below(2) == 0; }
  std::mt19937_64* random() { return &random_; }

 private:
  template <typename T>
  T OneOf(std::vector<T> values) {
    return values[Below(values.size())];
  }

  RuleSpec InnerRule() {
    return OneOf<RuleSpec>(
        {Rule("sgd", {{"lr", 0.1}}), Rule("sgd", {{"lr", 0.05}, {"momentum", 0.9}, {"dampening", 0.1}}),
         Rule("sgd", {{"lr", 0.05}, {"momentum", 0.8}, {"nesterov", 1}, {"weight_decay", 0.01}}),
         Rule("adam", {{"lr", 0.01}}), Rule("adam", {{"lr", 0.01}, {"weight_decay", 0.1}, {"amsgrad", 1}}),
         Rule("adamw", {{"lr", 0.02}, {"beta2", 0.9}}), Rule("lamb", {{"lr", 0.01}}),
         Rule("lamb", {{"lr", 0.01}, {"weight_decay", 0}})});
  }
  RuleSpec OuterRule(bool gradient) {
    std::vector<RuleSpec> rules = {Rule("lookahead"),
                                   Rule("lookahead", {{"alpha", 0.8}}),
                                   Rule("average"),
                                   Rule("average", {{"alpha", 0.25}}),
                                   Rule("heavy_ball", {{"lr", 0.3}}),
                                   Rule("nesterov", {{"lr", 0.2}}),
                                   Rule("nesterov", {{"momentum", 0}})};
    if (gradient) rules.push_back(Rule("none"));
    return OneOf(rules);
  }
  void AddGroups(ModelSpec* spec) {
    if (Flip()) spec->groups.push_back({.name = "scaled", .tensors = {"b", "scale"}, .lr_scale = 0.5});
    if (Flip())
      spec->groups.push_back({.name = "other", .tensors = {"head"}, .inner = InnerRule(), .lr_scale = 2});
    if (spec->groups.empty() && Flip()) {
      spec->groups.push_back({.name = "still", .tensors = {"b"}, .inner = Rule("none")});
    }
  }
  void AddRounds(RoundSpec* rounds) {
    rounds->policy = static_cast<RoundPolicy>(1 + Below(3));
    rounds->reduction = static_cast<Reduction>(1 + Below(2));
    rounds->accumulate = static_cast<AccumulateType>(1 + Below(2));
    rounds->weighting = static_cast<Weighting>(1 + Below(2));
    rounds->buffer_pushes = 1 + static_cast<uint32_t>(Below(4));
    rounds->staleness_exponent = Flip() ? 0.5 : 0;
    rounds->max_staleness = 1000;
  }

  // Bounds near the size of the pushes: some rounds are clipped, some are not.
  void AddClip(ClipSpec* clip) {
    if (Below(4) == 0) clip->value = 0.8;
    if (Below(4) == 0) clip->tensor_norm = 4;
    if (Below(3) == 0) clip->global_norm = 6;
  }

  std::mt19937_64 random_;
};

ReferenceModel::TensorPush Plain(const TensorData& data) {
  return {.present = data.present,
          .values = Doubles(data.floats.begin(), data.floats.end()),
          .bytes = data.bytes};
}

std::vector<ReferenceModel::TensorPush> Plain(const PushData& data) {
  std::vector<ReferenceModel::TensorPush> plain;
  for (const TensorData& tensor : data) plain.push_back(Plain(tensor));
  return plain;
}

// Largest difference relative to max(1, |expected|).
double Difference(const Floats& values, const Doubles& expected) {
  double worst = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    worst = std::max(worst, std::abs(values[i] - expected[i]) / std::max(1.0, std::abs(expected[i])));
  }
  return worst;
}

void ExpectEqual(const TestModel& model, const ReferenceModel& reference) {
  const ModelSpec& spec = model.spec();
  EXPECT_EQ(model.version().outer_steps, reference.outer_steps());
  if (spec.mode == Mode::kGradient) {
    EXPECT_EQ(model.version().inner_steps, reference.inner_steps());
  }
  for (size_t t = 0; t < spec.tensors.size(); ++t) {
    const auto& expected = reference.tensor(t);
    if (spec.tensors[t].role == Role::kCarried) {
      EXPECT_EQ(ReadRaw(model.version(), model.version().phi, t), expected.phi_bytes) << spec.tensors[t].name;
      EXPECT_EQ(ReadRaw(model.version(), model.version().theta, t), expected.theta_bytes)
          << spec.tensors[t].name;
      continue;
    }
    EXPECT_LT(Difference(model.Phi(t), expected.phi), 5e-5) << spec.tensors[t].name;
    EXPECT_LT(Difference(model.Theta(t), expected.theta), 5e-5) << spec.tensors[t].name;
  }
}

// One push as every copy of the model receives it.
struct Sent {
  std::string client;
  PushData data;
  std::string codec;
  uint64_t samples;
  double loss_scale;
  uint64_t staleness;
};

// Cut into pieces when `random` is given.
Push PushOf(TestModel* model, const Sent& sent, std::mt19937_64* random) {
  PushData scaled = sent.data;
  for (TensorData& tensor : scaled) {
    for (float& x : tensor.floats) x *= static_cast<float>(sent.loss_scale);  // a power of two: exact
  }
  Push push = model->Next(sent.client, scaled, sent.codec);
  push.payload = Encode(model->spec(), scaled, sent.codec, random);
  push.header.samples = sent.samples;
  push.header.loss_scale = sent.loss_scale;
  push.header.base.counter -= sent.staleness;
  return push;
}

ReferenceModel::Contribution ContributionOf(const RoundSpec& rounds, const Sent& sent) {
  const double share = rounds.weighting == Weighting::kSamples ? static_cast<double>(sent.samples) : 1;
  const double stale = rounds.policy == RoundPolicy::kSync
                           ? 1
                           : std::pow(1.0 + static_cast<double>(sent.staleness), -rounds.staleness_exponent);
  return {.share = share, .numerator = share * stale, .tensors = Plain(sent.data)};
}

size_t RoundSize(const RoundSpec& rounds, size_t workers) {
  if (rounds.policy == RoundPolicy::kAsync) return 1;
  return rounds.policy == RoundPolicy::kBuffered ? rounds.buffer_pushes : workers;
}

void RunHistory(uint64_t seed) {
  History history(seed);
  const ModelSpec spec = history.MakeSpec();
  SCOPED_TRACE(
      fmt::format("seed {}: mode {}, inner {}, outer {}, k {}, inner_state {}, policy {}, reduction {}, "
                  "accumulate {}, weighting {}, groups {}, clip {} {} {}",
                  seed, int(spec.mode), spec.inner.name, spec.outer.name, spec.sync_period,
                  int(spec.inner_state), int(spec.rounds.policy), int(spec.rounds.reduction),
                  int(spec.rounds.accumulate), int(spec.rounds.weighting), spec.groups.size(),
                  spec.clip.value, spec.clip.tensor_norm, spec.clip.global_norm));
  const PushData weights = history.MakeData(spec, true, "f32");
  ReferenceModel reference(spec, Plain(weights));
  const auto generic = kernels::MakeCpuBackend("generic");
  ThreadExecutor eight(8);
  TestModel model(spec, weights), threaded(spec, weights, {.executor = &eight}),
      plain(spec, weights, {.backend = generic.get()});
  const std::vector<TestModel*> copies = {&model, &threaded, &plain};

  const size_t workers = 1 + history.Below(4);
  std::vector<std::string> clients;
  for (size_t w = 0; w < workers; ++w) clients.push_back(std::string(1, static_cast<char>('a' + w)));
  for (TestModel* copy : copies) {
    for (const std::string& client : clients) copy->Join(client);
  }
  std::vector<std::pair<std::string, ReferenceModel::Contribution>> round;
  for (int commits = 0; commits < 10;) {
    std::shuffle(clients.begin(), clients.end(), *history.random());
    for (const std::string& client : clients) {
      const std::string codec = history.Flip() ? "bf16" : "f32";
      Sent sent{client,
                history.MakeData(spec, history.Flip(), codec),
                codec,
                1 + history.Below(5),
                history.Flip() ? 1.0 : 1024.0,
                std::min(history.Below(3), model.version().version.counter)};
      round.emplace_back(client, ContributionOf(spec.rounds, sent));
      for (TestModel* copy : copies) {
        const PushAnswer answer =
            copy->Answer(PushOf(copy, sent, copy == &model ? nullptr : history.random()));
        ASSERT_TRUE(answer.refusal.ok()) << answer.refusal;
      }
      if (round.size() < RoundSize(spec.rounds, workers)) continue;
      if (spec.rounds.reduction == Reduction::kOrdered) {
        std::stable_sort(round.begin(), round.end(),
                         [](const auto& a, const auto& b) { return a.first < b.first; });
      }
      std::vector<ReferenceModel::Contribution> contributions;
      for (auto& [id, contribution] : round) contributions.push_back(std::move(contribution));
      round.clear();
      reference.Commit(contributions);
      ++commits;
      ASSERT_EQ(model.version().version.counter, static_cast<uint64_t>(commits));
      ASSERT_EQ(StateBits(threaded.version()), StateBits(model.version())) << "eight threads, cut payloads";
      ASSERT_EQ(StateBits(plain.version()), StateBits(model.version()))
          << "generic instructions, cut payloads";
      ExpectEqual(model, reference);
      if (testing::Test::HasFailure()) return;
    }
  }
}

TEST(Reference, EveryCommitOfRandomModelsEqualsThePlainEquations) {
  for (int i = 0; i < 300; ++i) {
    RunHistory(Seed() + i);
    if (HasFailure()) return;
  }
}

// A network with BatchNorm statistics, a counter, a tied pair (one entry) and a frozen part, by hand.
TEST(Reference, EveryRoleDoesWhatItSays) {
  ModelSpec spec = DeltaSpec(2, Rule("nesterov", {{"lr", 0.5}, {"momentum", 0.5}}));
  spec.tensors = {Trained("tied.embedding", {2}),
                  {"bn.mean", {2}, DataType::kF32, Role::kAveraged},
                  {"bn.count", {1}, DataType::kI64, Role::kCarried},
                  {"lora.base", {2}, DataType::kF32, Role::kFrozen}};
  const auto count = [](int64_t n) { return std::string(reinterpret_cast<const char*>(&n), sizeof n); };
  for (const Reduction reduction : {Reduction::kRunning, Reduction::kOrdered}) {
    spec.rounds.reduction = reduction;
    TestModel model(spec, {{{1, 2}}, {{10, 20}}, {.bytes = count(0)}, {{7, 8}}});
    model.Join("a");
    model.Join("b");
    for (int round = 1; round <= 2; ++round) {
      // Deltas: base - value. The workers' statistics are 8 and 6 (then 4 and 2) below the base.
      model.Apply("b", {{{0.5f, 1}}, {{2, 4}}, {.bytes = count(1000 * round + 1)}, {}});
      model.Apply("a", {{{1.5f, 3}}, {{4, 8}}, {.bytes = count(1000 * round)}, {}});
    }
    // Mean delta (1, 2) twice: b = 1, then 1.5; phi -= 0.5 (1 + 0.5 b).
    EXPECT_EQ(model.Phi(0), (Floats{1 - 0.75f - 0.875f, 2 - 1.5f - 1.75f}));
    EXPECT_EQ(model.Phi(1), (Floats{10 - 3 - 3, 20 - 6 - 6})) << "the mean of the workers' values";
    EXPECT_EQ(model.Phi(3), (Floats{7, 8}));
    // The newest contributor: the last to arrive, or the last in order.
    EXPECT_EQ(ReadRaw(model.version(), model.version().phi, 2),
              count(reduction == Reduction::kRunning ? 2000 : 2001));
  }
}

// Folds are cut into tasks; every cut must land in its place.
TEST(Reference, TensorsLargerThanOneFoldAreSummedInPlace) {
  constexpr size_t kElements = 3 * 65536 + 77;
  ModelSpec spec = DeltaSpec(5);
  spec.tensors.push_back(Trained("large", {kElements}));
  std::mt19937_64 random(Seed());
  for (const AccumulateType accumulate : {AccumulateType::kF32, AccumulateType::kF64}) {
    for (const std::string codec : {"f32", "bf16"}) {
      spec.rounds.accumulate = accumulate;
      TestModel model(spec, {{Floats(5, 0)}, {Floats(kElements, 0)}});
      std::vector<double> sum(kElements, 0);
      for (const char* client : {"a", "b", "c"}) model.Join(client);
      for (const char* client : {"a", "b", "c"}) {
        const Floats delta = History::Rounded(RandomFloats(&random, kElements), codec);
        for (size_t i = 0; i < kElements; ++i) sum[i] += delta[i];
        model.Apply(model.Next(client, {{Floats(5, 1)}, {delta}}, codec));
      }
      const Floats phi = model.Phi(1);
      for (size_t i = 0; i < kElements; ++i) ASSERT_NEAR(phi[i], -sum[i] / 3, 1e-5) << i << " " << codec;
    }
  }
}

TEST(Reference, InGradientModeStatisticsLiveInThetaUntilTheSync) {
  ModelSpec spec = GradientSpec(1, Rule("sgd", {{"lr", 1}}), Rule("lookahead"), 2);
  spec.tensors.push_back({"bn", {1}, DataType::kF32, Role::kAveraged});
  spec.tensors.push_back({"count", {1}, DataType::kI32, Role::kCarried});
  TestModel model(spec, {{{8}}, {{100}}, {.bytes = "0000"}});
  model.Join("a");
  model.Apply("a", {{{2}}, {{10}}, {.bytes = "1111"}});
  EXPECT_EQ(model.Theta(0), Floats{6});
  EXPECT_EQ(model.Phi(0), Floats{8});
  EXPECT_EQ(model.Theta(1), Floats{90});
  EXPECT_EQ(model.Phi(1), Floats{100});
  EXPECT_EQ(ReadRaw(model.version(), model.version().theta, 2), "1111");
  EXPECT_EQ(ReadRaw(model.version(), model.version().phi, 2), "0000");
  model.Apply("a", {{{2}}, {{10}}, {.present = false}});
  EXPECT_EQ(model.Phi(0), Floats{6}) << "halfway from 8 to 4";
  EXPECT_EQ(model.Phi(1), Floats{80}) << "statistics are not interpolated";
  EXPECT_EQ(ReadRaw(model.version(), model.version().phi, 2), "1111");
  EXPECT_EQ(model.version().phi, model.version().theta);
}

}  // namespace
}  // namespace stepback::core_test
