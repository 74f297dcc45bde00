// Turns the list of kernels/aggregators.h into data.
#include "kernels/aggregators.h"

namespace stepback::kernels {
namespace {

template <class Rule>
uint64_t LeastOf(HyperSpan hypers) {
  if constexpr (requires { &Rule::Least; }) {
    return Rule::Least(HyperValues<Rule>(hypers));
  } else {
    return 1;
  }
}

template <class Rule>
constexpr AggregatorInput InputOf() {
  if constexpr (requires { Rule::kInput; }) {
    return Rule::kInput;
  } else {
    return AggregatorInput::kNothing;
  }
}

template <class Rule>
AggregatorInfo DescribeAggregator() {
  constexpr AggregatorInput kInput = InputOf<Rule>();
  AggregatorInfo info{
      .name = Rule::kName,
      .id = 0,
      .citation = Rule::kCitation,
      .hypers = Rule::kHypers,
      .input = kInput,
      .most = kInput == AggregatorInput::kDistances ? kComparedContributionsMax : kContributionsMax,
      .least = LeastOf<Rule>,
      .choose = nullptr,
      .keep = nullptr,
      .combine = nullptr};
  if constexpr (requires { &Rule::Choose; }) {
    info.choose = [](HyperSpan hypers, const Measures& measures, std::span<double> shares) {
      Rule::Choose(HyperValues<Rule>(hypers), measures, shares);
    };
  }
  if constexpr (requires { &Rule::Keep; }) {
    info.keep = [](HyperSpan hypers, size_t count) { return Rule::Keep(HyperValues<Rule>(hypers), count); };
  }
  if constexpr (requires { &Rule::Combine; }) {
    info.combine = [](HyperSpan hypers, const float* sorted, size_t count) {
      return Rule::Combine(HyperValues<Rule>(hypers), sorted, count);
    };
  }
  return info;
}

auto AllAggregators() {
  auto infos = AggregatorList::Table<AggregatorInfo>([]<class Rule>() { return DescribeAggregator<Rule>(); });
  for (size_t i = 0; i < infos.size(); ++i) infos[i].id = static_cast<int>(i);
  return infos;
}

}  // namespace

std::span<const AggregatorInfo> Aggregators() {
  static const auto kInfos = AllAggregators();
  return kInfos;
}

const AggregatorInfo* FindAggregator(std::string_view name) {
  for (const AggregatorInfo& info : Aggregators()) {
    if (info.name == name) return &info;
  }
  return nullptr;
}

}  // namespace stepback::kernels
