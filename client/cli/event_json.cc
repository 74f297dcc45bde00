#include "client/cli/event_json.h"

#include <fmt/format.h>

#include <cmath>

namespace stepback::cli {
namespace {

constexpr int kWhoNamed = 3;

Json VersionJson(uint64_t term, uint64_t counter) { return {{"term", term}, {"counter", counter}}; }

template <typename Numbers>
Json NumbersJson(const Numbers& numbers) {
  Json out = Json::object();
  for (const v1::StoredNumber& number : numbers) out[number.name()] = NumberJson(number.value());
  return out;
}

Json MemberJson(const v1::MergeEvent::Member& member) {
  return {
      {"client", member.client_id()},        {"epoch", member.epoch()},
      {"sequence", member.sequence()},       {"base", VersionJson(member.base_term(), member.base_counter())},
      {"staleness", member.staleness()},     {"samples", member.samples()},
      {"local_steps", member.local_steps()}, {"loss_scale", NumberJson(member.loss_scale())},
      {"share", NumberJson(member.share())}, {"numerator", NumberJson(member.numerator())},
      {"clip", NumberJson(member.clip())},   {"mixing", NumberJson(member.mixing())},
      {"taken", NumberJson(member.taken())}, {"skipped", member.skipped()}};
}

Json RatesJson(const v1::MergeEvent& merge) {
  Json out = Json::array();
  for (const v1::MergeEvent::Rates& rates : merge.rates()) {
    out.push_back({{"rule", rates.rule()},
                   {"kind", rates.outer() ? "outer" : "inner"},
                   {"values", NumbersJson(rates.values())}});
  }
  return out;
}

Json MergeJson(const v1::MergeEvent& merge) {
  Json out = {{"before", VersionJson(merge.before_term(), merge.before_counter())}};
  if (merge.has_fragment()) out["fragment"] = merge.fragment();
  out["members"] = Json::array();
  for (const v1::MergeEvent::Member& member : merge.members()) out["members"].push_back(MemberJson(member));
  if (merge.members_omitted() > 0) out["members_omitted"] = merge.members_omitted();
  out["outer_step"] = merge.outer_step();
  out["inner_steps"] = merge.inner_steps();
  out["outer_steps"] = merge.outer_steps();
  out["samples"] = merge.samples();
  out["update_norm"] = NumberJson(merge.update_norm());
  out["weight_norm"] = NumberJson(merge.weight_norm());
  out["distance"] = NumberJson(merge.distance());
  if (merge.merge_share() >= 0) out["merge_share"] = NumberJson(merge.merge_share());
  out["rates"] = RatesJson(merge);
  out["awaited"] = merge.awaited();
  if (merge.has_since_first_nanos()) out["since_first_nanos"] = merge.since_first_nanos();
  if (merge.has_since_quorum_nanos()) out["since_quorum_nanos"] = merge.since_quorum_nanos();
  if (merge.has_grace_nanos()) out["grace_nanos"] = merge.grace_nanos();
  return out;
}

Json RuleJson(const v1::StoredRule& rule) {
  Json out = {{"name", rule.name()}, {"values", NumbersJson(rule.values())}};
  for (const v1::StoredSchedule& schedule : rule.schedules()) {
    out["schedules"][schedule.hyper()] = {{"name", schedule.name()},
                                          {"values", NumbersJson(schedule.values())}};
  }
  return out;
}

template <typename Words>
std::string Word(uint32_t number, const Words& words) {
  return number < std::size(words) ? words[number] : std::to_string(number);
}

constexpr const char* kModes[] = {"", "gradient", "delta"};
constexpr const char* kPolicies[] = {"", "sync", "async", "buffered"};
constexpr const char* kReductions[] = {"", "running", "ordered"};
constexpr const char* kWeightings[] = {"", "equal", "samples"};
constexpr const char* kDurabilities[] = {"", "volatile", "round", "push", "replicated"};

Json RoundsJson(const v1::StoredRounds& rounds) {
  Json out = {{"policy", Word(rounds.policy(), kPolicies)},
              {"quorum", rounds.quorum()},
              {"deadline_seconds", NumberJson(rounds.deadline_seconds())},
              {"grace_seconds", NumberJson(rounds.grace_seconds())},
              {"grace_factor", NumberJson(rounds.grace_factor())},
              {"buffer_pushes", rounds.buffer_pushes()}};
  if (rounds.has_max_staleness()) out["max_staleness"] = rounds.max_staleness();
  out["reduction"] = Word(rounds.reduction(), kReductions);
  out["weighting"] = Word(rounds.weighting(), kWeightings);
  out["staleness_exponent"] = NumberJson(rounds.staleness_exponent());
  if (!rounds.staleness_name().empty()) {
    out["staleness"] = {{"name", rounds.staleness_name()},
                        {"values", NumbersJson(rounds.staleness_values())}};
  }
  if (rounds.has_aggregator()) out["aggregator"] = RuleJson(rounds.aggregator());
  return out;
}

Json SettingsJson(const v1::StoredSpec& spec) {
  return {{"mode", Word(spec.mode(), kModes)},
          {"inner", RuleJson(spec.inner())},
          {"outer", RuleJson(spec.outer())},
          {"sync_period", spec.sync_period()},
          {"rounds", RoundsJson(spec.rounds())},
          {"durability", Word(spec.durability(), kDurabilities)},
          {"snapshot_interval_seconds", NumberJson(spec.snapshot_interval_seconds())},
          {"lease_seconds", NumberJson(spec.lease_seconds())},
          {"quarantine",
           {{"after", spec.quarantine().after()}, {"seconds", NumberJson(spec.quarantine().seconds())}}}};
}

std::string FieldOf(const v1::EventRecord& record, const std::string& name) {
  for (const v1::StoredLabel& field : record.fields()) {
    if (field.name() == name) return field.value();
  }
  return "";
}

}  // namespace

Json NumberJson(double number) {
  if (std::isfinite(number)) return number;
  return std::isnan(number) ? "nan" : number > 0 ? "inf" : "-inf";
}

Version VersionOf(const v1::EventRecord& record) { return {record.term(), record.counter()}; }

Json EventJson(const std::string& model, const v1::EventRecord& record) {
  Json out = {{"model", model},
              {"number", record.number()},
              {"wall_nanos", record.wall_nanos()},
              {"version", VersionJson(record.term(), record.counter())},
              {"settings_version", record.settings_version()},
              {"name", record.name()},
              {"reason", record.reason()}};
  if (record.dropped() > 0) out["dropped"] = record.dropped();
  if (record.fields_size() > 0) {
    Json& fields = out["fields"] = Json::object();
    for (const v1::StoredLabel& field : record.fields()) fields[field.name()] = field.value();
  }
  if (record.has_merge()) out["merge"] = MergeJson(record.merge());
  if (record.has_settings()) out["settings"] = SettingsJson(record.settings());
  return out;
}

std::string WhoOf(const v1::EventRecord& record) {
  if (!record.has_merge()) {
    const std::string client = FieldOf(record, "client"), sequence = FieldOf(record, "sequence");
    if (client.empty()) return "-";
    return sequence.empty() ? client : fmt::format("{}:{}", client, sequence);
  }
  const v1::MergeEvent& merge = record.merge();
  std::string who;
  for (int i = 0; i < std::min(merge.members_size(), kWhoNamed); ++i) {
    who +=
        fmt::format("{}{}:{}", i == 0 ? "" : ", ", merge.members(i).client_id(), merge.members(i).sequence());
  }
  const uint64_t all = static_cast<uint64_t>(merge.members_size()) + merge.members_omitted();
  return all > kWhoNamed ? fmt::format("{} and {} more", who, all - kWhoNamed) : who;
}

}  // namespace stepback::cli
