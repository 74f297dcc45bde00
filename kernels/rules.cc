// Turns the lists of kernels/rules.h into data.
#include "kernels/rules.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <type_traits>

namespace stepback::kernels {
namespace {

template <class Rule>
uint32_t UsedSlots(HyperSpan hypers) {
  if constexpr (requires { &Rule::UsedSlots; }) {
    return Rule::UsedSlots(HyperValues<Rule>(hypers));
  } else {
    return (1u << Rule::kSlots.size()) - 1;
  }
}

template <class Rule>
bool Check(HyperSpan hypers, char* error, size_t error_size) {
  if constexpr (requires { &Rule::Check; }) {
    return Rule::Check(HyperValues<Rule>(hypers), error, error_size);
  } else {
    return true;
  }
}

template <class Rule>
void Prepare(HyperSpan hypers, int64_t step, double* carry, void* scalars) {
  const typename Rule::Scalars prepared = Rule::Prepare(HyperValues<Rule>(hypers), step, carry);
  std::memcpy(scalars, &prepared, sizeof prepared);
}

template <class Rule>
bool Samples(HyperSpan hypers, int64_t sync) {
  if constexpr (requires { &Rule::Samples; }) {
    return Rule::Samples(HyperValues<Rule>(hypers), sync);
  } else {
    return true;
  }
}

template <class Rule>
constexpr int Carry() {
  if constexpr (requires { Rule::kCarry; }) {
    return Rule::kCarry;
  } else {
    return 0;
  }
}

template <class Rule>
constexpr int EvalSlot() {
  if constexpr (requires { Rule::kEvalSlot; }) {
    static_assert(Rule::kSlots[Rule::kEvalSlot].from_weights, "before the first step it must be the weights");
    return Rule::kEvalSlot;
  } else {
    return -1;
  }
}

template <class Rule>
bool Reduces(HyperSpan hypers) {
  if constexpr (requires { &Rule::Reduces; }) {
    return Rule::Reduces(HyperValues<Rule>(hypers));
  } else {
    return ReducingRule<Rule>;
  }
}

template <ReducingRule Rule>
void Finish(void* scalars, const double* sums) {
  typename Rule::Scalars finished;
  std::memcpy(&finished, scalars, sizeof finished);
  Rule::Finish(finished, sums);
  std::memcpy(scalars, &finished, sizeof finished);
}

template <class Rule>
auto Defaults() {
  std::array<double, Rule::kHypers.size()> defaults;
  for (size_t i = 0; i < Rule::kHypers.size(); ++i) defaults[i] = Rule::kHypers[i].default_value;
  return defaults;
}

// Weights, input and slots are read, weights and slots written; sums read all but what is written once more.
template <class Rule>
int BytesPerParameter() {
  const auto defaults = Defaults<Rule>();
  const int slots = std::popcount(UsedSlots<Rule>(defaults));
  return 4 * (3 + 2 * slots + (Reduces<Rule>(defaults) ? 2 + slots : 0));
}

template <class Rule>
void DescribeSums(RuleInfo* info) {
  if constexpr (ReducingRule<Rule>) {
    static_assert(Rule::kSums > 0 && Rule::kSums <= kMaxSums);
    info->sums = Rule::kSums;
    info->reduces = Reduces<Rule>;
    info->finish = Finish<Rule>;
  }
}

template <class Rule>
void DescribeTensorStep(RuleInfo* info) {
  if constexpr (TensorRule<Rule>) {
    info->whole_tensor = true;
    info->workspace = [](std::span<const uint64_t> shape) {
      return Rule::Workspace(shape.data(), shape.size());
    };
  }
  if constexpr (requires { &Rule::Applies; }) {
    info->applies = [](std::span<const uint64_t> shape, char* error, size_t error_size) {
      return Rule::Applies(shape.data(), shape.size(), error, error_size);
    };
  }
}

template <class Rule>
void DescribeMerge(RuleInfo* info) {
  if constexpr (requires { Rule::kTakesWeights; }) info->takes_weights = Rule::kTakesWeights;
  if constexpr (CurvatureRule<Rule>) {
    info->curvature_slot = Rule::kCurvatureSlot;
    info->curvature_scale = [](const void* scalars) {
      return Rule::CurvatureScale(*static_cast<const typename Rule::Scalars*>(scalars));
    };
  }
  if constexpr (SumMergingRule<Rule>) {
    static_assert(Rule::kMergeSums > 0 && Rule::kMergeSums <= kMaxSums);
    info->merge_sums = Rule::kMergeSums;
    info->merge_finish = [](void* scalars, const double* sums) {
      return Rule::MergeFinish(*static_cast<typename Rule::Scalars*>(scalars), sums);
    };
  }
}

template <class Rule>
RuleInfo MakeInfo(RuleKind kind) {
  static_assert(Rule::kSlots.size() <= kMaxSlots && Carry<Rule>() <= kMaxCarry);
  static_assert(std::is_trivially_copyable_v<typename Rule::Scalars> &&
                alignof(typename Rule::Scalars) <= 16);
  return {Rule::kName,
          kind,
          0,
          Rule::kCitation,
          Rule::kHypers,
          Rule::kSlots,
          EvalSlot<Rule>(),
          Carry<Rule>(),
          sizeof(typename Rule::Scalars),
          UsedSlots<Rule>,
          Check<Rule>,
          Prepare<Rule>,
          BytesPerParameter<Rule>(),
          kind == RuleKind::kAverage ? Samples<Rule> : nullptr,
          nullptr,
          false};
}

template <class Rule>
constexpr bool KeepsDeltas() {
  if constexpr (requires { Rule::kKeepsDeltas; }) {
    return Rule::kKeepsDeltas;
  } else {
    return false;
  }
}

template <class Rule>
RuleInfo MakeExtrapolation() {
  constexpr auto kHistory = [](HyperSpan hypers) { return Rule::History(HyperValues<Rule>(hypers)); };
  return {.name = Rule::kName,
          .kind = RuleKind::kAverage,
          .id = 0,
          .citation = Rule::kCitation,
          .hypers = Rule::kHypers,
          .slots = Rule::kSlots,
          .eval_slot = -1,
          .carry = 0,
          .scalars_bytes = 0,
          .used_slots = UsedSlots<Rule>,
          .check = Check<Rule>,
          .prepare = nullptr,
          .bytes_per_parameter = 0,
          .samples = Samples<Rule>,
          .history = kHistory,
          .keeps_deltas = KeepsDeltas<Rule>()};
}

template <class List>
auto MakeInfos(RuleKind kind) {
  auto infos = List::template Table<RuleInfo>([kind]<class Rule>() {
    RuleInfo info = MakeInfo<Rule>(kind);
    DescribeSums<Rule>(&info);
    DescribeTensorStep<Rule>(&info);
    DescribeMerge<Rule>(&info);
    return info;
  });
  for (size_t i = 0; i < infos.size(); ++i) infos[i].id = static_cast<int>(i);
  return infos;
}

const RuleInfo* Find(std::span<const RuleInfo> rules, std::string_view name) {
  for (const RuleInfo& rule : rules) {
    if (rule.name == name) return &rule;
  }
  return nullptr;
}

}  // namespace

std::span<const RuleInfo> InnerRules() {
  static const auto kInfos = MakeInfos<InnerRuleList>(RuleKind::kInner);
  return kInfos;
}

std::span<const RuleInfo> OuterRules() {
  static const auto kInfos = MakeInfos<OuterRuleList>(RuleKind::kOuter);
  return kInfos;
}

// An average is one array of its own and no more.
static_assert([] {
  bool fits = true;
  AverageRuleList::ForEach([&]<class Rule>() {
    fits = fits && Rule::kSlots.empty() && sizeof(typename Rule::Scalars) <= kMaxAverageScalarsBytes;
  });
  return fits;
}());

std::span<const RuleInfo> AverageRules() {
  static const auto kInfos = [] {
    std::array<RuleInfo, AverageRuleList::kSize + ExtrapolationRuleList::kSize> infos;
    const auto averages = MakeInfos<AverageRuleList>(RuleKind::kAverage);
    const auto extrapolations =
        ExtrapolationRuleList::Table<RuleInfo>([]<class Rule>() { return MakeExtrapolation<Rule>(); });
    std::copy(extrapolations.begin(), extrapolations.end(),
              std::copy(averages.begin(), averages.end(), infos.begin()));
    for (size_t i = 0; i < infos.size(); ++i) infos[i].id = static_cast<int>(i);
    return infos;
  }();
  return kInfos;
}

const RuleInfo* FindInnerRule(std::string_view name) { return Find(InnerRules(), name); }
const RuleInfo* FindOuterRule(std::string_view name) { return Find(OuterRules(), name); }
const RuleInfo* FindAverageRule(std::string_view name) { return Find(AverageRules(), name); }

int HyperIndex(const RuleInfo& rule, std::string_view name) {
  for (size_t i = 0; i < rule.hypers.size(); ++i) {
    if (rule.hypers[i].name == name) return static_cast<int>(i);
  }
  return -1;
}

}  // namespace stepback::kernels
