#include "tests/conformance/reference.h"

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
    return [](const void* scalars, float input, float* w, float* slots) {
      RunElement<Rule, merge>(scalars, input, w, slots, std::make_index_sequence<Rule::kSlots.size()>());
    };
  });
  return kTable[id];
}

class Reference {
 public:
  explicit Reference(const Scenario& s) : s_(s), begins_(s.Begins()) {}

  Outcome Run() {
    next_ = s_.state;
    if (s_.sync()) next_.theta.clear();
    if (s_.has_outer_step()) outcome_.delta.assign(s_.arena_floats(), 0.0f);
    for (size_t t = 0; t < s_.tensors.size(); ++t) {
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
    if (uses) mean = Mean(t, i);
    if (uses && tensor.action == TensorAction::kTrained) input_.push_back(mean);
    if (tensor.action == TensorAction::kCarried) w = Carried(t, i);
    if (tensor.action == TensorAction::kAveraged) w = w - mean;
    if (uses && tensor.action == TensorAction::kTrained) Train(t, at, mean, &w);
    if (s_.has_outer_step() && tensor.carried_bytes == 0)
      outcome_.delta[at] = s_.gradient ? s_.state.phi[at] - w : mean;
    if (s_.sync() && tensor.merges) Sync(t, at, &w);
    if (s_.gradient && !s_.sync()) next_.theta[at] = w;
    if (!s_.gradient || s_.sync()) next_.phi[at] = w;
    weight_.push_back(w);
  }

  void Train(size_t t, uint64_t at, float mean, float* w) {
    if (!s_.gradient) return Outer(StepOf<OuterRuleList, false>(s_.outer_rule), at, mean, w);
    const RuleInfo& rule = InnerRules()[s_.tensors[t].inner_rule];
    float slots[kMaxSlots] = {};
    const auto used = [&](size_t i) { return (s_.inner_used_slots[t] >> i & 1) != 0; };
    for (size_t i = 0; i < rule.slots.size(); ++i) slots[i] = used(i) ? s_.state.inner[i][at] : 0.0f;
    StepOf<InnerRuleList, false>(rule.id)(s_.scalars.data() + s_.inner_scalars[t], mean, w, slots);
    for (size_t i = 0; i < rule.slots.size(); ++i) {
      if (used(i)) next_.inner[i][at] = slots[i];
    }
  }

  void Outer(ElementStep step, uint64_t at, float input, float* w) {
    float slots[kMaxSlots] = {};
    for (int i = 0; i < kMaxSlots; ++i) slots[i] = s_.state.outer[i].empty() ? 0.0f : s_.state.outer[i][at];
    step(s_.scalars.data() + s_.outer_scalars, input, w, slots);
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
        const float alpha = s_.pullback_alpha;
        slot[at] = std::fma(alpha, slot[at], (1.0f - alpha) * s_.state.caches[i][at]);
        next_.caches[i][at] = slot[at];
      }
    }
  }

  // The order of additions, straight from its definition: lane i mod 32, then lanes folded in halves.
  static double BlockSum(const float* x, size_t count) {
    double lanes[32] = {};
    for (size_t i = 0; i < count; ++i) lanes[i % 32] += double{x[i]} * x[i];
    for (const int half : {16, 8, 4, 2, 1}) {
      for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
    }
    return lanes[0];
  }

  static void AddBlocks(Floats* values, double* sum) {
    for (size_t i = 0; i < values->size(); i += 1024) {
      *sum += BlockSum(values->data() + i, std::min<size_t>(1024, values->size() - i));
    }
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
  Floats input_, weight_, distance_;  // of the tensor at hand
  Outcome outcome_;
};

}  // namespace

Outcome RunReference(const Scenario& scenario) { return Reference(scenario).Run(); }

}  // namespace stepback::kernels::testing
