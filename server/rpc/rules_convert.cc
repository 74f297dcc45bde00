// ListRules: the kernels' own tables in their proto form.
#include <cmath>

#include "kernels/aggregator_info.h"
#include "kernels/codec_info.h"
#include "kernels/rule_info.h"
#include "server/core/presets.h"
#include "server/core/schedule.h"
#include "server/core/staleness_weight.h"
#include "server/rpc/reply_convert.h"

namespace stepback {
namespace {

using Rules = v1::ListRulesResponse;

void AddHyper(const kernels::HyperInfo& hyper, Rules::Rule* rule) {
  auto* out = rule->add_hypers();
  out->set_name(std::string(hyper.name));
  out->set_default_value(hyper.default_value);
  out->set_min(hyper.min);
  out->set_max(hyper.max);
  out->set_min_open(hyper.min_open);
  out->set_max_open(hyper.max_open);
  out->set_integer(hyper.integer);
  out->set_doc(std::string(hyper.doc));
}

const char* KindOf(kernels::RuleKind kind) {
  switch (kind) {
    case kernels::RuleKind::kInner:
      return "inner";
    case kernels::RuleKind::kOuter:
      return "outer";
    case kernels::RuleKind::kAverage:
      break;
  }
  return "average";
}

void AddRule(const kernels::RuleInfo& rule, Rules* rules) {
  auto* out = rules->add_rules();
  out->set_name(std::string(rule.name));
  out->set_kind(KindOf(rule.kind));
  out->set_citation(std::string(rule.citation));
  for (const kernels::HyperInfo& hyper : rule.hypers) AddHyper(hyper, out);
  for (const kernels::SlotInfo& slot : rule.slots) out->add_slots(std::string(slot.name));
  out->set_bytes_per_parameter(rule.bytes_per_parameter);
  if (rule.eval_slot >= 0) out->set_eval_slot(std::string(rule.slots[rule.eval_slot].name));
  out->set_takes_weights(rule.takes_weights);
}

void AddAggregator(const kernels::AggregatorInfo& aggregator, Rules* rules) {
  auto* out = rules->add_rules();
  out->set_name(std::string(aggregator.name));
  out->set_kind("aggregator");
  out->set_citation(std::string(aggregator.citation));
  for (const kernels::HyperInfo& hyper : aggregator.hypers) AddHyper(hyper, out);
}

void AddCodec(const kernels::CodecInfo& codec, Rules* rules) {
  auto* out = rules->add_codecs();
  out->set_name(std::string(codec.name));
  out->set_block_elements(codec.block_elements);
  out->set_error_bound(std::string(codec.error_bound));
}

template <typename Proto>
void AddParameters(std::span<const ParameterInfo> parameters, Proto* proto) {
  for (const ParameterInfo& parameter : parameters) {
    auto* value = proto->add_parameters();
    value->set_name(std::string(parameter.name));
    value->set_required(parameter.required);
    value->set_default_value(parameter.default_value);
    value->set_min(parameter.min);
    value->set_max(parameter.max);
    value->set_integer(parameter.integer);
    value->set_min_open(parameter.min_open);
  }
}

void AddSchedule(const ScheduleInfo& schedule, Rules* rules) {
  auto* out = rules->add_schedules();
  out->set_name(std::string(schedule.name));
  out->set_doc(std::string(schedule.doc));
  AddParameters(schedule.parameters, out);
  AddParameters(WarmupParameters(), out);
}

void AddStaleness(const StalenessInfo& function, Rules* rules) {
  auto* out = rules->add_staleness_weights();
  out->set_name(std::string(function.name));
  out->set_doc(std::string(function.doc));
  out->set_citation(std::string(function.citation));
  AddParameters(function.parameters, out);
}

void AddPreset(const PresetInfo& preset, Rules* rules) {
  auto* out = rules->add_presets();
  out->set_name(std::string(preset.name));
  out->set_doc(std::string(preset.doc));
  out->set_citation(std::string(preset.citation));
  out->mutable_outer()->set_name(std::string(preset.rule));
  for (const PresetValue& value : preset.values) {
    (*out->mutable_outer()->mutable_values())[std::string(value.name)] = value.value;
  }
  if (preset.mode) out->set_mode(static_cast<v1::TrainingMode>(*preset.mode));
  out->set_sync_period(preset.sync_period);
  out->mutable_rounds()->set_policy(static_cast<v1::RoundPolicy>(preset.policy));
  out->mutable_rounds()->set_buffer_pushes(preset.buffer_pushes);
  if (!preset.staleness.empty())
    out->mutable_rounds()->mutable_staleness()->set_name(std::string(preset.staleness));
}

}  // namespace

v1::ListRulesResponse RulesToProto() {
  Rules rules;
  for (const kernels::RuleInfo& rule : kernels::InnerRules()) AddRule(rule, &rules);
  for (const kernels::RuleInfo& rule : kernels::OuterRules()) AddRule(rule, &rules);
  for (const kernels::RuleInfo& rule : kernels::AverageRules()) AddRule(rule, &rules);
  for (const kernels::AggregatorInfo& aggregator : kernels::Aggregators()) AddAggregator(aggregator, &rules);
  for (const kernels::CodecInfo& codec : kernels::Codecs()) AddCodec(codec, &rules);
  for (const ScheduleInfo& schedule : Schedules()) AddSchedule(schedule, &rules);
  for (const StalenessInfo& function : StalenessFunctions()) AddStaleness(function, &rules);
  for (const PresetInfo& preset : Presets()) AddPreset(preset, &rules);
  return rules;
}

}  // namespace stepback
