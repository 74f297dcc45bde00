#include "server/core/eval_slot.h"

#include <fmt/format.h>

#include <string>
#include <utility>
#include <vector>

#include "kernels/rule_info.h"
#include "server/core/field_error.h"
#include "server/core/rule_choice.h"

namespace stepback {
namespace {

struct NamedRule {
  std::string field;
  const kernels::RuleInfo* rule;
};

// The model's inner rule and those of its groups, without "none" and names that are unknown.
std::vector<NamedRule> InnerRulesOf(const ModelSpec& spec) {
  std::vector<NamedRule> rules = {{"spec.inner.name", kernels::FindInnerRule(spec.inner.name)}};
  for (size_t g = 0; g < spec.groups.size(); ++g) {
    if (!spec.groups[g].inner) continue;
    rules.push_back({fmt::format("spec.groups[{}].inner.name", g),
                     kernels::FindInnerRule(spec.groups[g].inner->name)});
  }
  std::erase_if(rules, [](const NamedRule& named) { return named.rule == nullptr; });
  return rules;
}

std::string ArrayName(const kernels::RuleInfo& rule) {
  if (rule.eval_slot < 0) return "the weights";
  return fmt::format("slot {}", rule.eval_slot);
}

}  // namespace

int EvalSlotOf(const ModelSpec& spec) {
  if (spec.mode != Mode::kGradient) return -1;
  const std::vector<NamedRule> rules = InnerRulesOf(spec);
  return rules.empty() ? -1 : rules.front().rule->eval_slot;
}

absl::Status CheckEvalSlot(const ModelSpec& spec) {
  if (spec.mode != Mode::kGradient) return absl::OkStatus();
  const std::vector<NamedRule> rules = InnerRulesOf(spec);
  for (const NamedRule& named : rules) {
    const kernels::RuleInfo& first = *rules.front().rule;
    if (named.rule->eval_slot == first.eval_slot) continue;
    return FieldError(named.field,
                      fmt::format("is '{}', whose evaluators read {}, expected a rule whose evaluators read "
                                  "{} as those of '{}' do, or '{}'",
                                  named.rule->name, ArrayName(*named.rule), ArrayName(first), first.name,
                                  kNoRule));
  }
  if (EvalSlotOf(spec) < 0 || spec.outer.name == kNoRule) return absl::OkStatus();
  return FieldError("spec.outer.name",
                    fmt::format("is '{}', expected '{}': the inner rule '{}' averages by itself, and "
                                "evaluators read its average instead of slow weights",
                                spec.outer.name, kNoRule, rules.front().rule->name));
}

}  // namespace stepback
