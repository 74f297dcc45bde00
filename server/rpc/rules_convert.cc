// ListRules: the kernels' own tables in their proto form.
#include <cmath>

#include "kernels/aggregator_info.h"
#include "kernels/codec_info.h"
#include "kernels/rule_info.h"
#include "server/core/schedule.h"
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

void AddRule(const kernels::RuleInfo& rule, Rules* rules) {
  auto* out = rules->add_rules();
  out->set_name(std::string(rule.name));
  out->set_kind(rule.kind == kernels::RuleKind::kInner ? "inner" : "outer");
  out->set_citation(std::string(rule.citation));
  for (const kernels::HyperInfo& hyper : rule.hypers) AddHyper(hyper, out);
  for (const kernels::SlotInfo& slot : rule.slots) out->add_slots(std::string(slot.name));
  out->set_bytes_per_parameter(rule.bytes_per_parameter);
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

void AddSchedule(const ScheduleInfo& schedule, Rules* rules) {
  auto* out = rules->add_schedules();
  out->set_name(std::string(schedule.name));
  out->set_doc(std::string(schedule.doc));
  for (const ScheduleParameter& parameter : schedule.parameters) {
    auto* value = out->add_parameters();
    value->set_name(std::string(parameter.name));
    value->set_required(parameter.required);
    value->set_default_value(parameter.default_value);
    value->set_min(parameter.min);
    value->set_max(parameter.max);
    value->set_integer(parameter.integer);
  }
}

}  // namespace

v1::ListRulesResponse RulesToProto() {
  Rules rules;
  for (const kernels::RuleInfo& rule : kernels::InnerRules()) AddRule(rule, &rules);
  for (const kernels::RuleInfo& rule : kernels::OuterRules()) AddRule(rule, &rules);
  for (const kernels::AggregatorInfo& aggregator : kernels::Aggregators()) AddAggregator(aggregator, &rules);
  for (const kernels::CodecInfo& codec : kernels::Codecs()) AddCodec(codec, &rules);
  for (const ScheduleInfo& schedule : Schedules()) AddSchedule(schedule, &rules);
  return rules;
}

}  // namespace stepback
