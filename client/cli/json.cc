#include "client/cli/json.h"

#include <fmt/format.h>

#include <cmath>

#include "client/cli/units.h"

namespace stepback::cli {
namespace {

// JSON has no infinity.
Json Number(double value) {
  if (std::isfinite(value)) return value;
  return value > 0 ? "Infinity" : value < 0 ? "-Infinity" : "NaN";
}

Json TimeJson(client::WallTime time) {
  return time.time_since_epoch().count() == 0 ? Json(nullptr) : Json(ShowTime(time));
}

Json RoundsJson(const client::Rounds& rounds) {
  Json out = {{"policy", NameOf(rounds.policy)},
              {"quorum", rounds.quorum},
              {"deadline_seconds", rounds.deadline_seconds},
              {"buffer_pushes", rounds.buffer_pushes}};
  if (rounds.max_staleness) out["max_staleness"] = *rounds.max_staleness;
  out["reduction"] = NameOf(rounds.reduction);
  out["accumulate"] = NameOf(rounds.accumulate);
  out["weighting"] = NameOf(rounds.weighting);
  out["max_workers"] = rounds.max_workers;
  out["staleness_exponent"] = rounds.staleness_exponent;
  if (!rounds.staleness.name.empty()) {
    out["staleness"] = {{"name", rounds.staleness.name}, {"values", rounds.staleness.values}};
  }
  out["grace_seconds"] = rounds.grace_seconds;
  out["grace_factor"] = rounds.grace_factor;
  out["dynamic_local_steps"] = rounds.dynamic_local_steps;
  if (rounds.history_versions > 0) out["history_versions"] = rounds.history_versions;
  if (rounds.aggregator) out["aggregator"] = ToJson(*rounds.aggregator);
  return out;
}

Json ScheduleJson(const client::Schedule& schedule) {
  return {{"name", schedule.name}, {"values", schedule.values}};
}

Json ParametersJson(const std::vector<client::ScheduleParameter>& parameters) {
  Json out = Json::array();
  for (const client::ScheduleParameter& parameter : parameters) {
    out.push_back({{"name", parameter.name},
                   {"required", parameter.required},
                   {"default", Number(parameter.default_value)},
                   {"min", Number(parameter.min)},
                   {"max", Number(parameter.max)},
                   {"min_open", parameter.min_open},
                   {"integer", parameter.integer}});
  }
  return out;
}

Json PresetJson(const client::PresetInfo& preset) {
  Json out = {{"name", preset.name},
              {"doc", preset.doc},
              {"citation", preset.citation},
              {"outer", ToJson(preset.outer)},
              {"sync_period", preset.sync_period},
              {"rounds", RoundsJson(preset.rounds)}};
  if (preset.mode) out["mode"] = NameOf(*preset.mode);
  return out;
}

Json QuarantineJson(const client::Quarantine& quarantine) {
  Json out = {{"seconds", quarantine.seconds}};
  if (quarantine.after) out["after"] = *quarantine.after;
  return out;
}

Json ClipJson(const client::Clip& clip) {
  return {{"value", clip.value},
          {"tensor_norm", clip.tensor_norm},
          {"global_norm", clip.global_norm},
          {"contribution_norm", clip.contribution_norm}};
}

Json TensorJson(const client::Tensor& tensor) {
  return {{"name", tensor.name},
          {"shape", tensor.shape},
          {"dtype", NameOf(tensor.dtype)},
          {"role", NameOf(tensor.role)}};
}

Json GroupJson(const client::Group& group) {
  Json out = {{"name", group.name}, {"tensors", group.tensors}, {"lr_scale", group.lr_scale}};
  if (group.inner) out["inner"] = ToJson(*group.inner);
  return out;
}

Json HealthJson(const client::Health& health) {
  Json out = Json::object();
  const auto add = [&out](const char* name, const std::optional<double>& value) {
    if (value) out[name] = Number(*value);
  };
  add("train_loss", health.train_loss);
  add("tokens", health.tokens);
  add("tokens_per_second", health.tokens_per_second);
  add("gradient_norm", health.gradient_norm);
  add("inner_learning_rate", health.inner_learning_rate);
  add("compute_seconds", health.compute_seconds);
  add("wait_seconds", health.wait_seconds);
  return out;
}

}  // namespace

Json ToJson(client::Version version) { return {{"term", version.term}, {"counter", version.counter}}; }

Json ToJson(const client::Rule& rule) {
  Json out = {{"name", rule.name}, {"values", rule.values}};
  if (!rule.options.empty()) out["options"] = rule.options;
  for (const auto& [hyper, schedule] : rule.schedules) {
    out["schedules"][hyper] = ScheduleJson(schedule);
  }
  return out;
}

Json ToJson(const client::ModelDefinition& definition) {
  Json out = {{"name", definition.name}, {"mode", NameOf(definition.mode)}};
  if (definition.inner) out["inner"] = ToJson(*definition.inner);
  if (definition.outer) out["outer"] = ToJson(*definition.outer);
  out["sync_period"] = definition.sync_period;
  if (definition.sync_period_schedule) {
    out["sync_period_schedule"] = ScheduleJson(*definition.sync_period_schedule);
  }
  out["inner_state"] = NameOf(definition.inner_state);
  out["rounds"] = RoundsJson(definition.rounds);
  out["durability"] = NameOf(definition.durability);
  out["expected_push_bytes_per_s"] = definition.expected_push_bytes_per_s;
  out["snapshot_interval_seconds"] = definition.snapshot_interval_seconds;
  out["lease_seconds"] = definition.lease_seconds;
  out["staging_bytes"] = definition.staging_bytes;
  out["max_live_versions"] = definition.max_live_versions;
  out["description"] = definition.description;
  out["labels"] = definition.labels;
  out["finish_after_steps"] = definition.finish_after_steps;
  out["finish_after_samples"] = definition.finish_after_samples;
  out["clip"] = ClipJson(definition.clip);
  out["quarantine"] = QuarantineJson(definition.quarantine);
  for (const client::Average& average : definition.averages) {
    out["averages"].push_back({{"name", average.name}, {"rule", ToJson(average.rule)}});
  }
  for (const client::Group& group : definition.groups) out["groups"].push_back(GroupJson(group));
  for (const client::Tensor& tensor : definition.tensors) out["tensors"].push_back(TensorJson(tensor));
  return out;
}

Json ToJson(const client::ModelInfo& model) {
  Json out = {{"name", model.definition.name},
              {"version", ToJson(model.version)},
              {"durable_version", model.durable_version ? ToJson(model.durable_version) : Json(nullptr)},
              {"settings_version", model.settings_version},
              {"fingerprint", Hex(model.fingerprint)},
              {"parameters", model.parameters},
              {"inner_steps", model.inner_steps},
              {"outer_steps", model.outer_steps},
              {"samples", model.samples},
              {"sessions", model.sessions},
              {"created_at", TimeJson(model.created_at)},
              {"finished", model.finished},
              {"state_bytes", model.state_bytes},
              {"unhealthy_reason", model.unhealthy_reason}};
  if (!model.state_hash.empty()) out["state_hash"] = model.state_hash;
  out["spec"] = ToJson(model.definition);
  return out;
}

Json ToJson(const client::SnapshotInfo& snapshot) {
  return {{"model", snapshot.model},
          {"generation", snapshot.generation},
          {"label", snapshot.label},
          {"version", ToJson(snapshot.version)},
          {"created_at", TimeJson(snapshot.created_at)},
          {"bytes", snapshot.bytes},
          {"inner_steps", snapshot.inner_steps},
          {"outer_steps", snapshot.outer_steps},
          {"samples", snapshot.samples}};
}

Json ToJson(const client::SessionInfo& session) {
  return {{"model", session.model},
          {"client_id", session.client_id},
          {"role", NameOf(session.role)},
          {"epoch", session.epoch},
          {"last_sequence", session.last_sequence},
          {"durable_sequence", session.durable_sequence},
          {"lease_remaining_seconds", Number(session.lease_remaining_seconds)},
          {"quarantine_remaining_seconds", Number(session.quarantine_remaining_seconds)},
          {"contributed", session.contributed},
          {"pushes", session.pushes},
          {"staleness", session.staleness},
          {"health", HealthJson(session.health)}};
}

Json ToJson(const client::ServerInfo& server) {
  return {{"version", server.version},
          {"revision", server.revision},
          {"devices", server.devices},
          {"features", server.features},
          {"protocol_version", server.protocol_version},
          {"grpc_version", server.grpc_version},
          {"uptime_seconds", server.uptime_seconds},
          {"draining", server.draining},
          {"compute_threads", server.compute_threads}};
}

Json ToJson(const client::RuleList& rules) {
  Json out = {{"rules", Json::array()}, {"codecs", Json::array()}, {"schedules", Json::array()}};
  for (const client::RuleInfo& rule : rules.rules) {
    Json hypers = Json::array();
    for (const client::HyperInfo& hyper : rule.hypers) {
      hypers.push_back({{"name", hyper.name},
                        {"default", Number(hyper.default_value)},
                        {"min", Number(hyper.min)},
                        {"max", Number(hyper.max)},
                        {"min_open", hyper.min_open},
                        {"max_open", hyper.max_open},
                        {"integer", hyper.integer},
                        {"doc", hyper.doc}});
    }
    out["rules"].push_back({{"name", rule.name},
                            {"kind", rule.kind},
                            {"citation", rule.citation},
                            {"hypers", hypers},
                            {"slots", rule.slots},
                            {"bytes_per_parameter", rule.bytes_per_parameter},
                            {"eval_slot", rule.eval_slot},
                            {"takes_weights", rule.takes_weights}});
  }
  for (const client::CodecInfo& codec : rules.codecs) {
    out["codecs"].push_back(
        {{"name", codec.name}, {"block_elements", codec.block_elements}, {"error_bound", codec.error_bound}});
  }
  for (const client::ScheduleInfo& schedule : rules.schedules) {
    out["schedules"].push_back({{"name", schedule.name},
                                {"doc", schedule.doc},
                                {"parameters", ParametersJson(schedule.parameters)}});
  }
  for (const client::StalenessInfo& function : rules.staleness_weights) {
    out["staleness_weights"].push_back({{"name", function.name},
                                        {"doc", function.doc},
                                        {"citation", function.citation},
                                        {"parameters", ParametersJson(function.parameters)}});
  }
  for (const client::PresetInfo& preset : rules.presets) out["presets"].push_back(PresetJson(preset));
  return out;
}

std::string Hex(const std::string& bytes) {
  std::string out;
  for (const unsigned char byte : bytes) out += fmt::format("{:02x}", byte);
  return out;
}

}  // namespace stepback::cli
