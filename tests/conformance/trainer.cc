#include "tests/conformance/trainer.h"

#include <bit>

namespace stepback::kernels::testing {
namespace {

Floats Padded(const Floats& values, const Scenario& scenario) {
  Floats arena(scenario.arena_floats(), 0.0f);
  std::copy(values.begin(), values.end(), arena.begin());
  return arena;
}

}  // namespace

Trainer::Trainer(Backend& backend, const RuleInfo& rule, std::vector<double> hypers, const Floats& start)
    : backend_(backend), rule_(rule) {
  TensorCase tensor{.count = start.size()};
  scenario_.gradient = rule.kind == RuleKind::kInner;
  if (scenario_.gradient) {
    tensor.inner_rule = rule.id;
    tensor.inner_hypers = hypers;
  } else {
    scenario_.outer_rule = rule.id;
    scenario_.outer_hypers = hypers;
  }
  scenario_.tensors = {tensor};
  Floats& weights = scenario_.gradient ? scenario_.state.theta : scenario_.state.phi;
  weights = Padded(start, scenario_);
  const uint32_t used = rule.used_slots(hypers);
  for (size_t i = 0; i < rule.slots.size(); ++i) {
    Floats& slot = scenario_.gradient ? scenario_.state.inner[i] : scenario_.state.outer[i];
    if ((used >> i & 1) == 0) continue;
    const Floats fresh(start.size(), rule.slots[i].init);
    slot = Padded(rule.slots[i].from_weights ? start : fresh, scenario_);
  }
}

CommitResult Trainer::Step(const Floats& input) {
  scenario_.workers = {Worker{.codec = FindCodec("f32")->id, .weight = 1, .tensors = {}}};
  scenario_.workers[0].tensors.push_back(Encode(scenario_.workers[0].codec, input));
  return Run();
}

CommitResult Trainer::Merge(const Floats& theta) {
  Scenario& s = scenario_;
  s.gradient = true;
  s.state.theta = Padded(theta, s);
  s.tensors[0].action = TensorAction::kKeep;
  s.workers = {Worker{.codec = FindCodec("f32")->id, .weight = 1, .tensors = {Bytes()}}};
  const CommitResult result = Run();
  s.gradient = false;
  s.tensors[0].action = TensorAction::kTrained;
  s.state.theta.clear();
  return result;
}

CommitResult Trainer::Run() {
  scenario_.Prepare();
  Outcome outcome = RunOn(backend_, &executor_, scenario_);
  scenario_.state = std::move(outcome.next);
  ++scenario_.tensors[0].step;
  ++scenario_.outer_step;
  return outcome.result;
}

Floats Trainer::OfTensor(const Floats& arena) const {
  return Floats(arena.begin(), arena.begin() + static_cast<ptrdiff_t>(scenario_.tensors[0].count));
}

Floats Trainer::weights() const {
  return OfTensor(scenario_.gradient ? scenario_.state.theta : scenario_.state.phi);
}

Floats Trainer::evaluation() const {
  return rule_.eval_slot < 0 ? weights() : OfTensor(scenario_.state.inner[rule_.eval_slot]);
}

std::vector<const RuleInfo*> AllRules() {
  std::vector<const RuleInfo*> rules;
  for (const RuleInfo& rule : InnerRules()) rules.push_back(&rule);
  for (const RuleInfo& rule : OuterRules()) rules.push_back(&rule);
  return rules;
}

std::vector<const RuleInfo*> RulesOf(const Backend& backend) {
  std::vector<const RuleInfo*> rules = AllRules();
  std::erase_if(rules, [&](const RuleInfo* rule) { return !backend.Runs(*rule); });
  return rules;
}

std::vector<double> Hypers(const RuleInfo& rule, const std::map<std::string, double>& named) {
  std::vector<double> values = DefaultHypers(rule);
  for (const auto& [name, value] : named) values.at(HyperIndex(rule, name)) = value;
  return values;
}

// More slots mean that more state has to survive, and sums that more has to be right; the first seed that
// gives the most wins.
std::vector<double> BusyHypers(const RuleInfo& rule) {
  const auto work = [&](const std::vector<double>& values) {
    return std::popcount(rule.used_slots(values)) + (rule.sums > 0 && rule.reduces(values) ? 1 : 0);
  };
  std::vector<double> best;
  for (uint32_t seed = 0; seed < 64; ++seed) {
    std::mt19937 random(seed);
    const auto values = RandomHypers(rule, random);
    if (best.empty() || work(values) > work(best)) best = values;
  }
  return best;
}

}  // namespace stepback::kernels::testing
