#include "client/python/src/core/records.h"

#include <pybind11/stl.h>

#include <chrono>
#include <optional>
#include <string>

namespace py = pybind11;
using py::literals::operator""_a;

namespace stepback::python {
namespace {

py::object Type(const char* name) { return py::module_::import("stepback._types").attr(name); }

py::dict AveragesToPython(const std::vector<client::Average>& averages) {
  py::dict out;
  for (const client::Average& average : averages)
    out[py::str(average.name)] = stepback::python::ToPython(average.rule);
  return out;
}

double Seconds(client::WallTime time) {
  return std::chrono::duration<double>(time.time_since_epoch()).count();
}

py::object Hex(const std::string& bytes) { return py::bytes(bytes).attr("hex")(); }

py::object StalenessToPython(const client::Staleness& staleness) {
  return py::module_::import("stepback._rounds").attr("Staleness")(staleness.name, staleness.values);
}

py::object FragmentToPython(const client::FragmentInfo& fragment) {
  py::list ranges;
  for (const client::ElementRange& range : fragment.ranges)
    ranges.append(py::make_tuple(range.begin, range.count));
  return py::module_::import("stepback._fragments")
      .attr("FragmentInfo")("ranges"_a = py::tuple(ranges), "offset"_a = fragment.offset,
                            "version"_a = stepback::python::ToPython(fragment.version),
                            "outer_steps"_a = fragment.outer_steps, "inner_steps"_a = fragment.inner_steps,
                            "samples"_a = fragment.samples);
}

py::object FragmentsToPython(const std::vector<client::FragmentInfo>& fragments) {
  py::list out;
  for (const client::FragmentInfo& fragment : fragments) out.append(FragmentToPython(fragment));
  return py::tuple(out);
}

py::object HyperToPython(const client::HyperInfo& hyper) {
  return Type("HyperInfo")("name"_a = hyper.name, "default"_a = hyper.default_value, "min"_a = hyper.min,
                           "max"_a = hyper.max, "min_open"_a = hyper.min_open, "max_open"_a = hyper.max_open,
                           "integer"_a = hyper.integer, "doc"_a = hyper.doc);
}

py::object RuleInfoToPython(const client::RuleInfo& rule) {
  py::list hypers;
  for (const client::HyperInfo& hyper : rule.hypers) hypers.append(HyperToPython(hyper));
  return Type("RuleInfo")("name"_a = rule.name, "kind"_a = rule.kind, "citation"_a = rule.citation,
                          "hypers"_a = py::tuple(hypers), "slots"_a = py::tuple(py::cast(rule.slots)),
                          "bytes_per_parameter"_a = rule.bytes_per_parameter, "eval_slot"_a = rule.eval_slot,
                          "takes_weights"_a = rule.takes_weights);
}

py::object CodecToPython(const client::CodecInfo& codec) {
  return Type("CodecInfo")("name"_a = codec.name, "block_elements"_a = codec.block_elements,
                           "error_bound"_a = codec.error_bound);
}

py::object PresetToPython(const client::PresetInfo& preset) {
  return Type("Preset")("name"_a = preset.name, "doc"_a = preset.doc, "citation"_a = preset.citation,
                        "outer"_a = ToPython(preset.outer),
                        "mode"_a = preset.mode ? NameOf(*preset.mode) : std::string(),
                        "sync_period"_a = preset.sync_period, "rounds"_a = ToPython(preset.rounds));
}

}  // namespace

py::object ToPython(client::Version version) { return Type("Version")(version.term, version.counter); }

py::object ToPython(const client::Tensor& tensor) {
  return Type("TensorInfo")("name"_a = tensor.name, "shape"_a = py::tuple(py::cast(tensor.shape)),
                            "dtype"_a = NameOf(tensor.dtype), "role"_a = NameOf(tensor.role));
}

py::object ToPython(const client::Schedule& schedule) {
  return Type("Schedule")(schedule.name, schedule.values);
}

py::object ToPython(const client::Rule& rule) {
  py::dict schedules;
  for (const auto& [hyper, schedule] : rule.schedules) schedules[py::str(hyper)] = ToPython(schedule);
  return Type("RuleSpec")("name"_a = rule.name, "values"_a = rule.values, "options"_a = rule.options,
                          "schedules"_a = schedules);
}

py::object ToPython(const client::Group& group) {
  return Type("Group")("name"_a = group.name, "tensors"_a = py::tuple(py::cast(group.tensors)),
                       "inner"_a = ToPython(group.inner), "lr_scale"_a = group.lr_scale);
}

py::object ToPython(const client::Rounds& rounds) {
  return Type("Rounds")(
      "policy"_a = NameOf(rounds.policy), "quorum"_a = rounds.quorum,
      "deadline_seconds"_a = rounds.deadline_seconds, "buffer_pushes"_a = rounds.buffer_pushes,
      "max_staleness"_a = py::cast(rounds.max_staleness), "reduction"_a = NameOf(rounds.reduction),
      "accumulate"_a = NameOf(rounds.accumulate), "weighting"_a = NameOf(rounds.weighting),
      "max_workers"_a = rounds.max_workers, "staleness_exponent"_a = rounds.staleness_exponent,
      "staleness"_a = StalenessToPython(rounds.staleness), "grace_seconds"_a = rounds.grace_seconds,
      "grace_factor"_a = rounds.grace_factor, "dynamic_local_steps"_a = rounds.dynamic_local_steps,
      "aggregator"_a = ToPython(rounds.aggregator), "history_versions"_a = rounds.history_versions);
}

py::object ToPython(const client::Clip& clip) {
  return Type("Clip")("value"_a = clip.value, "tensor_norm"_a = clip.tensor_norm,
                      "global_norm"_a = clip.global_norm, "contribution_norm"_a = clip.contribution_norm);
}

py::object ToPython(const client::Settings& settings) {
  return Type("Settings")("settings_version"_a = settings.settings_version, "mode"_a = NameOf(settings.mode),
                          "sync_period"_a = settings.sync_period, "inner"_a = ToPython(settings.inner),
                          "outer"_a = ToPython(settings.outer),
                          "inner_state"_a = NameOf(settings.inner_state),
                          "rounds"_a = ToPython(settings.rounds), "groups"_a = TupleToPython(settings.groups),
                          "clip"_a = ToPython(settings.clip), "takes_weights"_a = settings.takes_weights,
                          "fragments"_a = settings.fragments,
                          "overlap_steps"_a = settings.overlap_steps, "mixing"_a = settings.mixing);
}

py::object ToPython(const client::Health& health) {
  return Type("Health")("train_loss"_a = health.train_loss, "tokens"_a = health.tokens,
                        "tokens_per_second"_a = health.tokens_per_second,
                        "gradient_norm"_a = health.gradient_norm,
                        "inner_learning_rate"_a = health.inner_learning_rate,
                        "compute_seconds"_a = health.compute_seconds, "wait_seconds"_a = health.wait_seconds);
}

py::object ToPython(const client::PushResult& result) {
  return Type("PushResult")("outcome"_a = NameOf(result.outcome), "duplicate"_a = result.duplicate,
                            "version"_a = ToPython(result.version), "sequence"_a = result.sequence,
                            "durable_sequence"_a = result.durable_sequence, "reason"_a = result.reason,
                            "staleness"_a = result.staleness, "settings_version"_a = result.settings_version,
                            "inner_steps"_a = result.inner_steps, "outer_steps"_a = result.outer_steps,
                            "samples"_a = result.samples, "finished"_a = result.finished,
                            "loss_scale"_a = result.loss_scale, "local_steps"_a = result.local_steps);
}

py::object ToPython(const client::PullInfo& info) {
  return Type("PullInfo")("version"_a = ToPython(info.version), "modified"_a = info.modified,
                          "durable"_a = info.durable, "settings_version"_a = info.settings_version,
                          "inner_steps"_a = info.inner_steps, "outer_steps"_a = info.outer_steps,
                          "samples"_a = info.samples, "finished"_a = info.finished,
                          "payload_bytes"_a = info.payload_bytes, "difference"_a = info.difference);
}

py::object ToPython(const client::StepResult& result) {
  return Type("StepResult")("outcome"_a = NameOf(result.outcome), "push"_a = ToPython(result.push),
                            "pull"_a = ToPython(result.pull), "wait_seconds"_a = result.wait_seconds);
}

py::object ToPython(const client::Statistics& s) {
  return Type("Statistics")(
      "pushes"_a = s.pushes, "pulls"_a = s.pulls, "steps"_a = s.steps, "duplicates"_a = s.duplicates,
      "resyncs"_a = s.resyncs, "reconnects"_a = s.reconnects, "replays"_a = s.replays,
      "flushes"_a = s.flushes, "heartbeats"_a = s.heartbeats, "payload_bytes_sent"_a = s.payload_bytes_sent,
      "payload_bytes_received"_a = s.payload_bytes_received, "wire_bytes_sent"_a = s.wire_bytes_sent,
      "wire_bytes_received"_a = s.wire_bytes_received, "replay_bytes"_a = s.replay_bytes,
      "difference_pulls"_a = s.difference_pulls);
}

py::object ToPython(const client::ModelInfo& info) {
  const client::ModelDefinition& model = info.definition;
  return Type("ModelInfo")(
      "name"_a = model.name, "tensors"_a = TupleToPython(model.tensors), "mode"_a = NameOf(model.mode),
      "inner"_a = ToPython(model.inner), "outer"_a = ToPython(model.outer),
      "sync_period"_a = model.sync_period, "inner_state"_a = NameOf(model.inner_state),
      "rounds"_a = ToPython(model.rounds), "clip"_a = ToPython(model.clip),
      "groups"_a = TupleToPython(model.groups), "durability"_a = NameOf(model.durability),
      "description"_a = model.description, "labels"_a = model.labels, "version"_a = ToPython(info.version),
      "durable_version"_a = ToPython(info.durable_version), "settings_version"_a = info.settings_version,
      "fingerprint"_a = Hex(info.fingerprint), "parameters"_a = info.parameters,
      "inner_steps"_a = info.inner_steps, "outer_steps"_a = info.outer_steps, "samples"_a = info.samples,
      "sessions"_a = info.sessions, "created_at"_a = Seconds(info.created_at), "finished"_a = info.finished,
      "state_bytes"_a = info.state_bytes, "state_hash"_a = info.state_hash,
      "unhealthy_reason"_a = info.unhealthy_reason, "averages"_a = AveragesToPython(model.averages),
      "sync_period_schedule"_a = ToPython(model.sync_period_schedule),
      "fragments"_a = FragmentsToPython(info.fragments));
}

py::object ToPython(const client::SnapshotInfo& info) {
  return Type("SnapshotInfo")(
      "model"_a = info.model, "generation"_a = info.generation, "label"_a = info.label,
      "version"_a = ToPython(info.version), "created_at"_a = Seconds(info.created_at), "bytes"_a = info.bytes,
      "inner_steps"_a = info.inner_steps, "outer_steps"_a = info.outer_steps, "samples"_a = info.samples);
}

py::object ToPython(const client::SessionInfo& info) {
  return Type("SessionInfo")(
      "model"_a = info.model, "client_id"_a = info.client_id, "role"_a = NameOf(info.role),
      "epoch"_a = info.epoch, "last_sequence"_a = info.last_sequence,
      "durable_sequence"_a = info.durable_sequence,
      "lease_remaining_seconds"_a = info.lease_remaining_seconds,
      "quarantine_remaining_seconds"_a = info.quarantine_remaining_seconds, "contributed"_a = info.contributed,
      "pushes"_a = info.pushes, "staleness"_a = info.staleness, "health"_a = ToPython(info.health));
}

py::object ToPython(const client::ServerInfo& info) {
  return Type("ServerInfo")("version"_a = info.version, "revision"_a = info.revision,
                            "devices"_a = py::tuple(py::cast(info.devices)),
                            "features"_a = py::tuple(py::cast(info.features)),
                            "protocol_version"_a = info.protocol_version,
                            "grpc_version"_a = info.grpc_version, "uptime_seconds"_a = info.uptime_seconds,
                            "draining"_a = info.draining, "compute_threads"_a = info.compute_threads);
}

py::object ToPython(const client::RuleList& list) {
  py::list rules, codecs, presets;
  for (const client::RuleInfo& rule : list.rules) rules.append(RuleInfoToPython(rule));
  for (const client::CodecInfo& codec : list.codecs) codecs.append(CodecToPython(codec));
  for (const client::PresetInfo& preset : list.presets) presets.append(PresetToPython(preset));
  return Type("RuleList")("rules"_a = py::tuple(rules), "codecs"_a = py::tuple(codecs),
                          "presets"_a = py::tuple(presets));
}

py::object ToPython(const client::VersionEvent& event) {
  return Type("VersionEvent")("version"_a = ToPython(event.version),
                              "durable_version"_a = ToPython(event.durable_version),
                              "settings_version"_a = event.settings_version, "finished"_a = event.finished);
}

}  // namespace stepback::python
