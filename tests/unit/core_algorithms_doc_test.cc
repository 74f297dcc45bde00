// docs/algorithms.md lists every rule, average, aggregator, codec, schedule, staleness weight and preset as the tables
// have it that the server checks specifications against, and that ListRules and `stepback rules` show.
// STEPBACK_UPDATE_DOCS=1 writes it anew.
#include <fmt/format.h>

#include <limits>
#include <span>
#include <string>
#include <string_view>

#include "gtest/gtest.h"
#include "kernels/aggregator_info.h"
#include "kernels/codec_info.h"
#include "kernels/rule.h"
#include "kernels/rule_info.h"
#include "server/core/presets.h"
#include "server/core/schedule.h"
#include "server/core/staleness_weight.h"
#include "tests/unit/doc_section.h"

namespace stepback {
namespace {

std::string Number(double value) {
  return value >= kernels::kFloatMax ? "∞" : fmt::format("{}", value);
}

std::string Bounds(double min, bool min_open, double max, bool max_open, bool integer) {
  return fmt::format("{}{}, {}{}{}", min_open ? "(" : "[", Number(min), Number(max),
                     max_open || max >= kernels::kFloatMax ? ")" : "]", integer ? ", integer" : "");
}

std::string HypersOf(std::span<const kernels::HyperInfo> hypers) {
  if (hypers.empty()) return "No hyperparameters.\n\n";
  std::string out = "| hyperparameter | default | bounds | meaning |\n|---|---|---|---|\n";
  for (const kernels::HyperInfo& hyper : hypers) {
    out += fmt::format("| `{}` | {} | {} | {} |\n", hyper.name, Number(hyper.default_value),
                       Bounds(hyper.min, hyper.min_open, hyper.max, hyper.max_open, hyper.integer), hyper.doc);
  }
  return out + "\n";
}

std::string SlotsOf(const kernels::RuleInfo& rule) {
  std::string names;
  for (const kernels::SlotInfo& slot : rule.slots) {
    names += fmt::format("{}`{}`", names.empty() ? "" : ", ", slot.name);
  }
  return names.empty() ? "no state" : fmt::format("state {}", names);
}

std::string RulesOf(std::span<const kernels::RuleInfo> rules) {
  std::string out;
  for (const kernels::RuleInfo& rule : rules) {
    out += fmt::format("### {}\n\n{}; {}", rule.name, rule.citation, SlotsOf(rule));
    if (rule.bytes_per_parameter > 0) out += fmt::format("; {} bytes moved per parameter", rule.bytes_per_parameter);
    if (rule.eval_slot >= 0) out += fmt::format("; view `eval` reads `{}`", rule.slots[rule.eval_slot].name);
    if (rule.takes_weights) out += "; takes weights, not deltas";
    if (rule.curvature_slot >= 0)
      out += fmt::format("; curvature from `{}`", rule.slots[rule.curvature_slot].name);
    if (rule.merge_sums > 0) out += "; needs an inner rule with a curvature";
    out += ".\n\n" + HypersOf(rule.hypers);
  }
  return out;
}

std::string AggregatorList() {
  std::string out;
  for (const kernels::AggregatorInfo& aggregator : kernels::Aggregators()) {
    out += fmt::format("### {}\n\n{}.\n\n{}", aggregator.name, aggregator.citation, HypersOf(aggregator.hypers));
  }
  return out;
}

std::string CodecTable() {
  std::string out = "| codec | elements of a block | bytes per 4,096 elements | error |\n|---|---|---|---|\n";
  for (const kernels::CodecInfo& codec : kernels::Codecs()) {
    out += fmt::format("| `{}` | {} | {} | {} |\n", codec.name, codec.block_elements, codec.encoded_bytes(4096),
                       codec.error_bound);
  }
  return out + "\n";
}

std::string ParametersOf(std::span<const ParameterInfo> parameters) {
  std::string out;
  for (const ParameterInfo& parameter : parameters) {
    const std::string value = parameter.required ? "required" : "default " + Number(parameter.default_value);
    out += fmt::format("{}`{}` ({}, {})", out.empty() ? "" : "; ", parameter.name, value,
                       Bounds(parameter.min, parameter.min_open, parameter.max, false, parameter.integer));
  }
  return out.empty() ? "none" : out;
}

std::string ScheduleTable() {
  std::string out = "| schedule | factor | parameters |\n|---|---|---|\n";
  for (const ScheduleInfo& schedule : Schedules()) {
    out += fmt::format("| `{}` | {} | {} |\n", schedule.name, schedule.doc, ParametersOf(schedule.parameters));
  }
  return out + fmt::format("\nEvery schedule also takes {}.\n\n", ParametersOf(WarmupParameters()));
}

std::string StalenessTable() {
  std::string out = "| weight | value at staleness s | parameters | source |\n|---|---|---|---|\n";
  for (const StalenessInfo& weight : StalenessFunctions()) {
    out += fmt::format("| `{}` | {} | {} | {} |\n", weight.name, weight.doc, ParametersOf(weight.parameters),
                       weight.citation);
  }
  return out + "\n";
}

std::string PresetTable() {
  std::string out = "| preset | rule and values | k or H | what | source |\n|---|---|---|---|---|\n";
  for (const PresetInfo& preset : Presets()) {
    std::string rule(preset.rule);
    for (const PresetValue& value : preset.values) rule += fmt::format(" {}={}", value.name, value.value);
    const std::string period = preset.sync_period == 0 ? "-" : std::to_string(preset.sync_period);
    out += fmt::format("| `{}` | {} | {} | {} | {} |\n", preset.name, rule, period, preset.doc, preset.citation);
  }
  return out + "\n";
}

std::string AlgorithmsPage() {
  return "\n## Inner rules\n\n" + RulesOf(kernels::InnerRules()) + "## Outer rules\n\n" +
         RulesOf(kernels::OuterRules()) + "## Averages of the slow weights\n\n" + RulesOf(kernels::AverageRules()) +
         "## Aggregators\n\n" + AggregatorList() + "## Codecs\n\n" + CodecTable() + "## Schedules\n\n" +
         ScheduleTable() + "## Staleness weights\n\n" + StalenessTable() + "## Presets\n\n" + PresetTable();
}

TEST(AlgorithmsPage, SaysWhatTheTablesSay) {
  EXPECT_TRUE(DocumentHolds("docs/algorithms.md", AlgorithmsPage()))
      << "run core_algorithms_doc_test with STEPBACK_UPDATE_DOCS=1 and review the diff";
}

}  // namespace
}  // namespace stepback
