#include "client/cli/json.h"

#include "fmt/core.h"

namespace stepback::cli {
namespace {

double Unix(client::WallTime time) { return std::chrono::duration<double>(time.time_since_epoch()).count(); }

std::string Hex(const std::string& bytes) {
  std::string text;
  for (unsigned char byte : bytes) text += fmt::format("{:02x}", byte);
  return text;
}

void SetIf(Json& json, const char* name, const std::optional<double>& value) {
  if (value) json[name] = *value;
}

}  // namespace

Json ToJson(const client::Version& version) { return {{"term", version.term}, {"counter", version.counter}}; }

Json ToJson(const client::Rule& rule) {
  Json json = {{"name", rule.name}, {"values", rule.values}};
  for (const auto& [name, schedule] : rule.schedules) {
    json["schedules"][name] = {{"name", schedule.name}, {"values", schedule.values}};
  }
  return json;
}

Json ToJson(const client::Rounds& rounds) {
  Json json = {{"policy", NameOf(rounds.policy)},
               {"quorum", rounds.quorum},
               {"deadline_seconds", rounds.deadline_seconds},
               {"buffer_pushes", rounds.buffer_pushes},
               {"reduction", NameOf(rounds.reduction)},
               {"accumulate", NameOf(rounds.accumulate)},
               {"weighting", NameOf(rounds.weighting)},
               {"max_workers", rounds.max_workers},
               {"staleness_exponent", rounds.staleness_exponent}};
  if (rounds.max_staleness) json["max_staleness"] = *rounds.max_staleness;
  return json;
}

Json ToJson(const client::ModelInfo& model) {
  const client::ModelDefinition& d = model.definition;
  Json json = {{"name", d.name},
               {"mode", NameOf(d.mode)},
               {"version", ToJson(model.version)},
               {"durable_version", ToJson(model.durable_version)},
               {"settings_version", model.settings_version},
               {"parameters", model.parameters},
               {"inner_steps", model.inner_steps},
               {"outer_steps", model.outer_steps},
               {"samples", model.samples},
               {"sessions", model.sessions},
               {"sync_period", d.sync_period},
               {"rounds", ToJson(d.rounds)},
               {"durability", NameOf(d.durability)},
               {"state_bytes", model.state_bytes},
               {"created_at", Unix(model.created_at)},
               {"finished", model.finished},
               {"fingerprint", Hex(model.fingerprint)},
               {"description", d.description},
               {"labels", d.labels}};
  if (d.inner) json["inner"] = ToJson(*d.inner);
  if (d.outer) json["outer"] = ToJson(*d.outer);
  if (!model.state_hash.empty()) json["state_hash"] = model.state_hash;
  if (!model.unhealthy_reason.empty()) json["unhealthy_reason"] = model.unhealthy_reason;
  for (const client::Tensor& t : d.tensors) {
    json["tensors"].push_back(
        Json{{"name", t.name}, {"shape", t.shape}, {"dtype", NameOf(t.dtype)}, {"role", NameOf(t.role)}});
  }
  return json;
}

Json ToJson(const client::SnapshotInfo& s) {
  return {{"model", s.model},
          {"generation", s.generation},
          {"label", s.label},
          {"version", ToJson(s.version)},
          {"created_at", Unix(s.created_at)},
          {"bytes", s.bytes},
          {"inner_steps", s.inner_steps},
          {"outer_steps", s.outer_steps},
          {"samples", s.samples}};
}

Json ToJson(const client::SessionInfo& s) {
  Json health = Json::object();
  SetIf(health, "train_loss", s.health.train_loss);
  SetIf(health, "tokens_per_second", s.health.tokens_per_second);
  SetIf(health, "gradient_norm", s.health.gradient_norm);
  SetIf(health, "compute_seconds", s.health.compute_seconds);
  SetIf(health, "wait_seconds", s.health.wait_seconds);
  return {{"model", s.model},
          {"client_id", s.client_id},
          {"role", NameOf(s.role)},
          {"epoch", s.epoch},
          {"last_sequence", s.last_sequence},
          {"durable_sequence", s.durable_sequence},
          {"lease_remaining_seconds", s.lease_remaining_seconds},
          {"contributed", s.contributed},
          {"pushes", s.pushes},
          {"staleness", s.staleness},
          {"health", health}};
}

Json ToJson(const client::ServerInfo& info) {
  return {{"version", info.version},
          {"revision", info.revision},
          {"devices", info.devices},
          {"features", info.features},
          {"protocol_version", info.protocol_version},
          {"grpc_version", info.grpc_version},
          {"uptime_seconds", info.uptime_seconds},
          {"draining", info.draining},
          {"compute_threads", info.compute_threads}};
}

Json ToJson(const client::RuleInfo& rule) {
  Json hypers = Json::array();
  for (const client::HyperInfo& h : rule.hypers) {
    hypers.push_back(Json{{"name", h.name},
                          {"default", h.default_value},
                          {"min", h.min},
                          {"max", h.max},
                          {"min_open", h.min_open},
                          {"max_open", h.max_open},
                          {"integer", h.integer},
                          {"doc", h.doc}});
  }
  return {{"name", rule.name},         {"kind", rule.kind},
          {"hypers", hypers},          {"slots", rule.slots},
          {"citation", rule.citation}, {"bytes_per_parameter", rule.bytes_per_parameter}};
}

Json ToJson(const client::CodecInfo& codec) {
  return {{"name", codec.name}, {"block_elements", codec.block_elements}, {"error_bound", codec.error_bound}};
}

}  // namespace stepback::cli
