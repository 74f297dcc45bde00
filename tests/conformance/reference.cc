#include "tests/conformance/reference.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "kernels/rules.h"
#include "tests/conformance/codec_reference.h"

namespace stepback::kernels::testing {
namespace {

// One element of a rule: weights in and out, the slots it has.
using ElementStep = void (*)(const void* scalars, float input, float* w, float* slots);

template <class Rule, bool merge, size_t... slot>
void RunElement(const void* scalars, float input, float* w, float* slots, std::index_sequence<slot...>) {
  const auto& s = *static_cast<const typename Rule::Scalars*>(scalars);
  if constexpr (merge) {
    MergeStep<Rule>(s, input, *w, slots[slot]...);
  } else {
    Rule::Step(s, input, *w, slots[slot]...);
  }
}

template <class List, bool merge>
ElementStep StepOf(int id) {
  static constexpr auto kTable = List::template Table<ElementStep>([]<class Rule>() -> ElementStep {
    if constexpr (TensorRule<Rule>) {
      return nullptr;
    } else {
      return [](const void* scalars, float input, float* w, float* slots) {
        RunElement<Rule, merge>(scalars, input, w, slots, std::make_index_sequence<Rule::kSlots.size()>());
      };
    }
  });
  return kTable[id];
}

// What one element adds to the sums of a rule that takes some; null for one that does not.
using ElementTerms = void (*)(const void* scalars, float input, float w, const float* slots, double* terms);

template <class Rule, size_t... slot>
void RunTerms(const void* scalars, float input, float w, const float* slots, double* terms,
              std::index_sequence<slot...>) {
  double own[Rule::kSums];
  Rule::Reduce(*static_cast<const typename Rule::Scalars*>(scalars), input, w, slots[slot]..., own);
  std::copy_n(own, Rule::kSums, terms);
}

ElementTerms TermsOf(int id) {
  static constexpr auto kTable = InnerRuleList::Table<ElementTerms>([]<class Rule>() -> ElementTerms {
    if constexpr (ReducingRule<Rule>) {
      return [](const void* scalars, float input, float w, const float* slots, double* terms) {
        RunTerms<Rule>(scalars, input, w, slots, terms, std::make_index_sequence<Rule::kSlots.size()>());
      };
    } else {
      return nullptr;
    }
  });
  return kTable[id];
}

// Rules on whole tensors, with sums and products of the plainest kind.
using TensorStepOf = void (*)(const TensorArgs& args);

TensorStepOf WholeStepOf(int id) {
  static constexpr auto kTable = InnerRuleList::Table<TensorStepOf>([]<class Rule>() -> TensorStepOf {
    if constexpr (TensorRule<Rule>) {
      return [](const TensorArgs& args) { Rule::StepTensor(args); };
    } else {
      return nullptr;
    }
  });
  return kTable[id];
}

// The order of additions, straight from its definition: lane i mod 32, then lanes folded in halves.
double BlockSum(const double* terms, size_t count) {
  double lanes[32] = {};
  for (size_t i = 0; i < count; ++i) lanes[i % 32] += terms[i];
  for (const int half : {16, 8, 4, 2, 1}) {
    for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  }
  return lanes[0];
}

// Blocks of 1,024 in index order, onto what is there already.
double OrderedSum(const std::vector<double>& terms, double sum = 0) {
  for (size_t i = 0; i < terms.size(); i += 1024) {
    sum += BlockSum(terms.data() + i, std::min<size_t>(1024, terms.size() - i));
  }
  return sum;
}

double Squares(const float* x, size_t count) {
  std::vector<double> squares;
  for (size_t i = 0; i < count; ++i) squares.push_back(double{x[i]} * x[i]);
  return OrderedSum(squares);
}

void RowSquares(const float* x, size_t rows, size_t cols, double* sums) {
  for (size_t r = 0; r < rows; ++r) sums[r] = Squares(x + r * cols, cols);
}

void ColumnSquares(const float* x, size_t rows, size_t cols, double* sums) {
  for (size_t c = 0; c < cols; ++c) {
    sums[c] = 0;
    for (size_t r = 0; r < rows; ++r) sums[c] += double{x[r * cols + c]} * x[r * cols + c];
  }
}

void Multiply(const float* a, const float* b, size_t rows, size_t inner, size_t cols, float* out) {
  for (size_t r = 0; r < rows; ++r) {
    for (size_t c = 0; c < cols; ++c) {
      float sum = 0;
      for (size_t k = 0; k < inner; ++k) sum = std::fma(a[r * inner + k], b[k * cols + c], sum);
      out[r * cols + c] = sum;
    }
  }
}

class Reference {
 public:
  explicit Reference(const Scenario& s) : s_(s), begins_(s.Begins()) {}

  Outcome Run() {
    next_ = s_.state;
    scalars_ = s_.scalars;
    FindFactors();
    for (size_t t = 0; t < s_.tensors.size(); ++t) FinishScalars(t);
    FinishMerge();
    if (s_.sync()) next_.theta.clear();
    if (s_.has_outer_step()) outcome_.delta.assign(s_.arena_floats(), 0.0f);
    for (size_t t = 0; t < s_.tensors.size(); ++t) {
      StepWhole(t);
      for (uint64_t i = 0; i < s_.tensors[t].count; ++i) Element(t, i);
      AddNorms(t);
    }
    outcome_.next = next_;
    FindBad();
    return outcome_;
  }

 private:
  bool Contributed(size_t t) const { return s_.WeightOf(t) != 0; }

  // Mean of the contributions to one element, in the arithmetic that the input form promises.
  float Mean(size_t t, uint64_t i) const {
    double wide = 0;
    float narrow = 0;
    bool first = true;
    for (const Worker& worker : s_.workers) {
      if (!s_.Has(worker, t)) continue;
      const float x = DecodeByHand(Codecs()[worker.codec].name, worker.tensors[t], s_.tensors[t].count, i);
      const float weight = static_cast<float>(worker.weight);
      wide = first ? worker.weight * x : std::fma(worker.weight, double{x}, wide);
      narrow = first ? weight * x : std::fma(weight, x, narrow);
      first = false;
    }
    if (s_.input == Input::kRunningF32) return narrow / static_cast<float>(s_.DivisorOf(t));
    return static_cast<float>(wide / s_.DivisorOf(t));
  }

  // The mean, of a gradient corrected for the way that the weights have gone since it was computed.
  float Received(size_t t, uint64_t i) const {
    const float g = Mean(t, i);
    if (s_.base.empty() || !s_.gradient || !Trains(t)) return g;
    const uint64_t at = begins_[t] + i;
    return std::fma(s_.delay_lambda * (g * g), s_.state.theta[at] - s_.base[at], g);
  }

  // Whether a rule (or a delta without one) uses the mean of the tensor.
  bool Trains(size_t t) const {
    const TensorCase& tensor = s_.tensors[t];
    return Contributed(t) && tensor.action == TensorAction::kTrained &&
           (!s_.gradient || tensor.inner_rule >= 0);
  }

  // --- clipping, straight from its formula ---

  double Limited(double x) const {
    const double bound = s_.clip.value > 0 ? static_cast<float>(s_.clip.value) : INFINITY;
    return std::min(std::max(x, -bound), bound);
  }

  float Input(size_t t, uint64_t i) const {
    return static_cast<float>(Limited(Received(t, i))) * factors_[t];
  }

  static double Factor(double bound, double norm) {
    return bound > 0 ? std::min(1.0, bound / (norm + 1e-6)) : 1.0;
  }

  void FindFactors() {
    std::vector<double> factors;
    double total = 0;
    for (size_t t = 0; t < s_.tensors.size(); ++t) {
      std::vector<double> squares;
      for (uint64_t i = 0; Trains(t) && i < s_.tensors[t].count; ++i) {
        squares.push_back(Limited(Received(t, i)) * Limited(Received(t, i)));
      }
      const double norm = std::sqrt(OrderedSum(squares));
      factors.push_back(Factor(s_.clip.tensor_norm, norm));
      total += norm * factors[t] * norm * factors[t];
    }
    for (const double factor : factors) {
      factors_.push_back(static_cast<float>(factor * Factor(s_.clip.global_norm, std::sqrt(total))));
    }
  }

  // --- sums that a rule takes before it steps ---

  void FinishScalars(size_t t) {
    if (!s_.gradient || !Trains(t) || !s_.inner_reduces[t]) return;
    const RuleInfo& rule = InnerRules()[s_.tensors[t].inner_rule];
    std::vector<double> terms[kMaxSums];
    for (uint64_t i = 0; i < s_.tensors[t].count; ++i) {
      const uint64_t at = begins_[t] + i;
      float slots[kMaxSlots] = {};
      for (size_t k = 0; k < rule.slots.size(); ++k) {
        if ((s_.inner_used_slots[t] >> k & 1) != 0) slots[k] = s_.state.inner[k][at];
      }
      double of_element[kMaxSums] = {};
      TermsOf(rule.id)(scalars_.data() + s_.inner_scalars[t], Input(t, i), s_.state.theta[at], slots,
                       of_element);
      for (int k = 0; k < kMaxSums; ++k) terms[k].push_back(of_element[k]);
    }
    double sums[kMaxSums];
    for (int k = 0; k < kMaxSums; ++k) sums[k] = OrderedSum(terms[k]);
    rule.finish(scalars_.data() + s_.inner_scalars[t], sums);
  }

  // --- sums that an outer rule takes before it merges ---

  void FinishMerge() {
    share_ = s_.pullback_alpha;
    if (!s_.sync() || OuterRules()[s_.outer_rule].merge_sums == 0) return;
    const auto merges = [](const TensorCase& tensor) { return tensor.merges; };
    if (std::none_of(s_.tensors.begin(), s_.tensors.end(), merges)) return;  // no merge, no share
    double numerator = 0, denominator = 0;
    for (size_t t = 0; t < s_.tensors.size(); ++t) {
      if (!Trains(t) || !s_.tensors[t].merges || InnerRules()[s_.tensors[t].inner_rule].curvature_slot < 0)
        continue;
      std::vector<double> upper, lower;
      for (uint64_t i = 0; i < s_.tensors[t].count; ++i) AddMergeTerms(t, i, &upper, &lower);
      numerator = OrderedSum(upper, numerator);
      denominator = OrderedSum(lower, denominator);
    }
    AdaptiveLookahead::Scalars s;
    std::memcpy(&s, scalars_.data() + s_.outer_scalars, sizeof s);
    double share = s.alpha;
    if (denominator >= 0x1p-1022 && !std::isnan(numerator / denominator)) {
      share = std::min(std::max(numerator / denominator, double{s.alpha_low}), 1.0);
    }
    outcome_.result.merge_share = share;
    s.alpha = share_ = static_cast<float>(share);
    std::memcpy(scalars_.data() + s_.outer_scalars, &s, sizeof s);
  }

  // Proposition 1 of the Lookahead paper for one element: the curvature is the second moment after the step,
  // the optimum one Newton step from where the gradient was taken.
  void AddMergeTerms(size_t t, uint64_t i, std::vector<double>* upper, std::vector<double>* lower) const {
    const RuleInfo& rule = InnerRules()[s_.tensors[t].inner_rule];
    const uint64_t at = begins_[t] + i;
    const std::byte* const scalars = scalars_.data() + s_.inner_scalars[t];
    float w = s_.state.theta[at], slots[kMaxSlots] = {};
    for (size_t k = 0; k < rule.slots.size(); ++k) {
      slots[k] = (s_.inner_used_slots[t] >> k & 1) != 0 ? s_.state.inner[k][at] : 0.0f;
    }
    const float g = Input(t, i);
    StepOf<InnerRuleList, false>(rule.id)(scalars, g, &w, slots);
    const double a = slots[rule.curvature_slot] * rule.curvature_scale(scalars);
    const double d = double{s_.state.phi[at]} - w;
    upper->push_back((a * (double{s_.state.phi[at]} - s_.state.theta[at]) + g) * d);
    lower->push_back(a * d * d);
  }

  float Carried(size_t t, uint64_t i) const {
    const Worker* newest = nullptr;
    for (const Worker& worker : s_.workers) {
      if (s_.Has(worker, t)) newest = &worker;
    }
    uint32_t bits = 0;
    const uint64_t begin = i * sizeof(float);
    if (begin < s_.tensors[t].carried_bytes) {
      std::memcpy(&bits, newest->tensors[t].data() + begin,
                  std::min<uint64_t>(sizeof(float), s_.tensors[t].carried_bytes - begin));
    }
    return std::bit_cast<float>(bits);
  }

  void Element(size_t t, uint64_t i) {
    const TensorCase& tensor = s_.tensors[t];
    const uint64_t at = begins_[t] + i;
    const Floats& current = s_.gradient ? s_.state.theta : s_.state.phi;
    float w = current[at];
    float mean = 0;
    const bool has = Contributed(t) &&
                     (tensor.action == TensorAction::kTrained || tensor.action == TensorAction::kAveraged);
    const bool uses =
        has && (tensor.action == TensorAction::kAveraged || !s_.gradient || tensor.inner_rule >= 0);
    if (uses) mean = Received(t, i);
    if (uses && s_.weights) return Weights(t, at, mean);
    if (uses && tensor.action == TensorAction::kTrained) input_.push_back(mean);
    if (tensor.action == TensorAction::kCarried) w = Carried(t, i);
    if (tensor.action == TensorAction::kAveraged) w = w - mean;
    if (Trains(t)) Train(t, at, Input(t, i), &w);
    if (s_.has_outer_step() && tensor.carried_bytes == 0)
      outcome_.delta[at] = s_.gradient ? s_.state.phi[at] - w : Trains(t) ? Input(t, i) : mean;
    if (s_.sync() && tensor.merges) Sync(t, at, &w);
    if (s_.gradient && !s_.sync()) next_.theta[at] = w;
    if (!s_.gradient || s_.sync()) next_.phi[at] = w;
    weight_.push_back(w);
  }

  // The outer rule merges what was sent, of averaged tensors too.
  void Weights(size_t t, uint64_t at, float theta) {
    float w = s_.state.phi[at];
    const float delta = w - theta;
    if (s_.tensors[t].action == TensorAction::kTrained) input_.push_back(delta);
    outcome_.delta[at] = delta;
    Outer(StepOf<OuterRuleList, true>(s_.outer_rule), at, theta, &w);
    next_.phi[at] = w;
    weight_.push_back(w);
  }

  // What a rule on whole tensors makes of this one; elements read it from stepped_.
  void StepWhole(size_t t) {
    const TensorCase& tensor = s_.tensors[t];
    if (!s_.gradient || !Trains(t) || tensor.count == 0 || !InnerRules()[tensor.inner_rule].whole_tensor)
      return;
    const RuleInfo& rule = InnerRules()[tensor.inner_rule];
    const auto part = [&](const Floats& array) {
      const auto begin = array.begin() + static_cast<ptrdiff_t>(begins_[t]);
      return Floats(begin, begin + static_cast<ptrdiff_t>(tensor.count));
    };
    Floats input, workspace(rule.workspace(tensor.shape) / sizeof(float) + 16);
    for (uint64_t i = 0; i < tensor.count; ++i) input.push_back(Input(t, i));
    stepped_[0] = part(s_.state.theta);
    TensorArgs args{.scalars = scalars_.data() + s_.inner_scalars[t],
                    .dims = tensor.shape.data(),
                    .rank = tensor.shape.size(),
                    .count = tensor.count,
                    .input = input.data(),
                    .weights = stepped_[0].data(),
                    .workspace = workspace.data(),
                    .ops = {Squares, RowSquares, ColumnSquares, Multiply}};
    for (size_t k = 0; k < rule.slots.size(); ++k) {
      if ((s_.inner_used_slots[t] >> k & 1) == 0) continue;
      stepped_[1 + k] = part(s_.state.inner[k]);
      args.slots[k] = stepped_[1 + k].data();
    }
    WholeStepOf(rule.id)(args);
  }

  void Train(size_t t, uint64_t at, float mean, float* w) {
    if (!s_.gradient) return Outer(StepOf<OuterRuleList, false>(s_.outer_rule), at, mean, w);
    const RuleInfo& rule = InnerRules()[s_.tensors[t].inner_rule];
    if (rule.whole_tensor) {
      *w = stepped_[0][at - begins_[t]];
      for (size_t i = 0; i < rule.slots.size(); ++i) {
        if ((s_.inner_used_slots[t] >> i & 1) != 0) next_.inner[i][at] = stepped_[1 + i][at - begins_[t]];
      }
      return;
    }
    float slots[kMaxSlots] = {};
    const auto used = [&](size_t i) { return (s_.inner_used_slots[t] >> i & 1) != 0; };
    for (size_t i = 0; i < rule.slots.size(); ++i) slots[i] = used(i) ? s_.state.inner[i][at] : 0.0f;
    StepOf<InnerRuleList, false>(rule.id)(scalars_.data() + s_.inner_scalars[t], mean, w, slots);
    for (size_t i = 0; i < rule.slots.size(); ++i) {
      if (used(i)) next_.inner[i][at] = slots[i];
    }
  }

  void Outer(ElementStep step, uint64_t at, float input, float* w) {
    float slots[kMaxSlots] = {};
    for (int i = 0; i < kMaxSlots; ++i) slots[i] = s_.state.outer[i].empty() ? 0.0f : s_.state.outer[i][at];
    step(scalars_.data() + s_.outer_scalars, input, w, slots);
    for (int i = 0; i < kMaxSlots; ++i) {
      if (!s_.state.outer[i].empty()) next_.outer[i][at] = slots[i];
    }
  }

  void Sync(size_t t, uint64_t at, float* w) {
    const float theta = *w;
    *w = s_.state.phi[at];
    distance_.push_back(*w - theta);
    Outer(StepOf<OuterRuleList, true>(s_.outer_rule), at, theta, w);
    if (s_.tensors[t].inner_rule < 0) return;
    const auto slots = InnerRules()[s_.tensors[t].inner_rule].slots;
    for (size_t i = 0; i < slots.size(); ++i) {
      Floats& slot = next_.inner[i];
      if (slot.empty()) continue;
      if (s_.policy == InnerStatePolicy::kReset) slot[at] = slots[i].from_weights ? *w : slots[i].init;
      if (s_.policy == InnerStatePolicy::kPullback && slots[i].first_moment && !next_.caches[i].empty()) {
        const float alpha = share_;
        slot[at] = std::fma(alpha, slot[at], (1.0f - alpha) * s_.state.caches[i][at]);
        next_.caches[i][at] = slot[at];
      }
    }
  }

  static void AddBlocks(Floats* values, double* sum) {
    std::vector<double> squares;
    for (const float x : *values) squares.push_back(double{x} * x);
    *sum = OrderedSum(squares, *sum);
    values->clear();
  }

  void AddNorms(size_t t) {
    if (s_.tensors[t].carried_bytes > 0) weight_.clear();
    AddBlocks(&input_, &outcome_.result.input_sq);
    AddBlocks(&weight_, &outcome_.result.weight_sq);
    AddBlocks(&distance_, &outcome_.result.distance_sq);
  }

  void FindBad() {
    for (size_t t = s_.tensors.size(); t-- > 0;) {
      if (s_.tensors[t].carried_bytes > 0) continue;
      const auto check = [&](const std::string&, const Floats& array) {
        for (uint64_t i = 0; !array.empty() && i < s_.tensors[t].count; ++i) {
          if (!std::isfinite(array[begins_[t] + i])) outcome_.result.bad_tensor = static_cast<int64_t>(t);
        }
      };
      next_.ForEach(check);
      check("delta", outcome_.delta);
    }
    outcome_.result.finite = outcome_.result.bad_tensor < 0;
  }

  const Scenario& s_;
  const std::vector<uint64_t> begins_;
  State next_;
  Floats stepped_[1 + kMaxSlots];     // weights and slots of the whole tensor at hand
  Bytes scalars_;                     // with the sums in
  float share_ = 0;                   // of the pullback
  std::vector<float> factors_;        // of clipping, per tensor
  Floats input_, weight_, distance_;  // of the tensor at hand
  Outcome outcome_;
};

}  // namespace

Outcome RunReference(const Scenario& scenario) { return Reference(scenario).Run(); }

}  // namespace stepback::kernels::testing
