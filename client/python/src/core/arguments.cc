#include "client/python/src/core/arguments.h"

#include <fmt/format.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "stepback/tensor.h"

namespace py = pybind11;

namespace stepback::python {
namespace {

// The attribute `name` of a dataclass, or the entry of a dictionary, as a T.
template <class T>
T Field(const py::object& record, const char* name) {
  return record.attr(name).cast<T>();
}
template <class T>
T Entry(const py::dict& options, const char* name) {
  return options[name].cast<T>();
}

std::chrono::milliseconds Milliseconds(const py::dict& options, const char* name) {
  return std::chrono::milliseconds(Entry<int64_t>(options, name));
}

// The enumerator that NameOf calls `word`; enumerators count from 1 to `last`.
template <class Enum>
Enum Named(const std::string& word, Enum last, const char* what) {
  std::string known;
  for (int i = 1; i <= static_cast<int>(last); ++i) {
    const std::string name = NameOf(static_cast<Enum>(i));
    if (name == word) return static_cast<Enum>(i);
    known += (i > 1 ? ", " : "") + name;
  }
  throw py::value_error(fmt::format("{} is '{}', expected one of {}", what, word, known));
}

template <class Enum>
Enum NamedField(const py::object& record, const char* name, Enum last) {
  return Named(Field<std::string>(record, name), last, name);
}

client::Schedule ScheduleFrom(const py::object& schedule) {
  return {Field<std::string>(schedule, "name"), Field<std::map<std::string, double>>(schedule, "values")};
}

client::Rule RuleFrom(const py::object& rule) {
  client::Rule converted{Field<std::string>(rule, "name"),
                         Field<std::map<std::string, double>>(rule, "values"),
                         Field<std::map<std::string, std::string>>(rule, "options"),
                         {}};
  for (const auto& [hyper, schedule] : Field<std::map<std::string, py::object>>(rule, "schedules")) {
    converted.schedules[hyper] = ScheduleFrom(schedule);
  }
  return converted;
}

std::optional<client::Rule> OptionalRule(const py::object& rule) {
  if (rule.is_none()) return std::nullopt;
  return RuleFrom(rule);
}

client::Group GroupFrom(const py::object& group) {
  return {Field<std::string>(group, "name"), Field<std::vector<std::string>>(group, "tensors"),
          OptionalRule(group.attr("inner")), Field<double>(group, "lr_scale")};
}

client::Tensor TensorFrom(const py::object& tensor) {
  return {Field<std::string>(tensor, "name"), Field<std::vector<uint64_t>>(tensor, "shape"),
          NamedField(tensor, "dtype", client::DataType::kBool),
          NamedField(tensor, "role", client::Role::kFrozen)};
}

client::Rounds RoundsFrom(const py::object& rounds) {
  client::Rounds converted;
  converted.policy = NamedField(rounds, "policy", client::RoundPolicy::kBuffered);
  converted.quorum = Field<uint32_t>(rounds, "quorum");
  converted.deadline_seconds = Field<double>(rounds, "deadline_seconds");
  converted.buffer_pushes = Field<uint32_t>(rounds, "buffer_pushes");
  converted.max_staleness = Field<std::optional<uint32_t>>(rounds, "max_staleness");
  converted.reduction = NamedField(rounds, "reduction", client::Reduction::kOrdered);
  converted.accumulate = NamedField(rounds, "accumulate", client::AccumulateType::kF64);
  converted.weighting = NamedField(rounds, "weighting", client::Weighting::kSamples);
  converted.max_workers = Field<uint32_t>(rounds, "max_workers");
  converted.staleness_exponent = Field<double>(rounds, "staleness_exponent");
  const py::object staleness = rounds.attr("staleness");
  converted.staleness = {Field<std::string>(staleness, "name"),
                         Field<std::map<std::string, double>>(staleness, "values")};
  converted.grace_seconds = Field<double>(rounds, "grace_seconds");
  converted.grace_factor = Field<double>(rounds, "grace_factor");
  converted.dynamic_local_steps = Field<bool>(rounds, "dynamic_local_steps");
  converted.aggregator = OptionalRule(rounds.attr("aggregator"));
  converted.history_versions = Field<uint32_t>(rounds, "history_versions");
  return converted;
}

client::Clip ClipFrom(const py::object& clip) {
  return {Field<double>(clip, "value"), Field<double>(clip, "tensor_norm"),
          Field<double>(clip, "global_norm"), Field<double>(clip, "contribution_norm")};
}

client::Quarantine QuarantineFrom(const py::object& quarantine) {
  client::Quarantine converted{.seconds = Field<double>(quarantine, "seconds")};
  if (!quarantine.attr("after").is_none()) converted.after = Field<uint32_t>(quarantine, "after");
  return converted;
}

client::Fragments FragmentsFrom(const py::object& fragments) {
  client::Fragments converted;
  if (fragments.is_none()) return converted;
  converted.count = Field<uint32_t>(fragments, "count");
  for (const py::handle part : fragments.attr("parts")) {
    const auto object = py::reinterpret_borrow<py::object>(part);
    converted.parts.push_back({Field<std::vector<std::string>>(object, "tensors"),
                               Field<std::optional<uint32_t>>(object, "offset")});
  }
  converted.overlap_steps = Field<uint32_t>(fragments, "overlap_steps");
  converted.mixing = Field<std::optional<double>>(fragments, "mixing");
  return converted;
}

std::vector<client::ElementRange> RangesFrom(const py::dict& options) {
  std::vector<client::ElementRange> ranges;
  for (const auto& [begin, count] : Entry<std::vector<std::pair<uint64_t, uint64_t>>>(options, "ranges")) {
    ranges.push_back({begin, count});
  }
  return ranges;
}

// Ctrl-C ends a waiting call: Python's signal handlers run on the main thread only, and their exception stays
// pending until the call is back. False on threads that Python does not know.
bool Interrupted() {
  if (PyGILState_GetThisThreadState() == nullptr) return false;
  const py::gil_scoped_acquire gil;
  return PyErr_CheckSignals() != 0;
}

}  // namespace

client::ModelDefinition DefinitionFrom(const py::object& definition) {
  client::ModelDefinition model;
  model.name = Field<std::string>(definition, "name");
  for (const py::handle tensor : definition.attr("tensors")) {
    model.tensors.push_back(TensorFrom(py::reinterpret_borrow<py::object>(tensor)));
  }
  for (const py::handle group : definition.attr("groups")) {
    model.groups.push_back(GroupFrom(py::reinterpret_borrow<py::object>(group)));
  }
  model.mode = NamedField(definition, "mode", client::Mode::kDelta);
  model.inner = OptionalRule(definition.attr("inner"));
  model.outer = OptionalRule(definition.attr("outer"));
  model.sync_period = Field<uint32_t>(definition, "sync_period");
  const py::object schedule = definition.attr("sync_period_schedule");
  if (!schedule.is_none()) model.sync_period_schedule = ScheduleFrom(schedule);
  model.inner_state = NamedField(definition, "inner_state", client::InnerState::kPullback);
  model.rounds = RoundsFrom(definition.attr("rounds"));
  model.durability = NamedField(definition, "durability", client::Durability::kReplicated);
  model.snapshot_interval_seconds = Field<double>(definition, "snapshot_interval_seconds");
  model.lease_seconds = Field<double>(definition, "lease_seconds");
  model.staging_bytes = Field<uint64_t>(definition, "staging_bytes");
  model.max_live_versions = Field<uint32_t>(definition, "max_live_versions");
  model.description = Field<std::string>(definition, "description");
  model.labels = Field<std::map<std::string, std::string>>(definition, "labels");
  model.finish_after_steps = Field<uint64_t>(definition, "finish_after_steps");
  model.finish_after_samples = Field<uint64_t>(definition, "finish_after_samples");
  model.expected_push_bytes_per_s = Field<double>(definition, "expected_push_bytes_per_s");
  model.clip = ClipFrom(definition.attr("clip"));
  model.quarantine = QuarantineFrom(definition.attr("quarantine"));
  for (const auto& [name, rule] : definition.attr("averages").cast<py::dict>()) {
    model.averages.push_back({name.cast<std::string>(), RuleFrom(py::reinterpret_borrow<py::object>(rule))});
  }
  model.fragments = FragmentsFrom(definition.attr("fragments"));
  return model;
}

client::ConnectOptions ConnectOptionsFrom(const std::string& address, const py::object& tls,
                                          const py::dict& options) {
  client::ConnectOptions connect;
  connect.address = address;
  connect.tls = {Field<std::string>(tls, "ca_file"), Field<std::string>(tls, "cert_file"),
                 Field<std::string>(tls, "key_file"), Field<std::string>(tls, "server_name")};
  connect.insecure = Entry<bool>(options, "insecure");
  connect.channels = Entry<int>(options, "channels");
  connect.connect_timeout = Milliseconds(options, "connect_timeout_ms");
  connect.control_timeout = Milliseconds(options, "control_timeout_ms");
  connect.retry.backoff_max = Milliseconds(options, "backoff_max_ms");
  connect.retry.backoff_initial = std::min(connect.retry.backoff_initial, connect.retry.backoff_max);
  connect.retry.give_up_after = Milliseconds(options, "give_up_after_ms");
  connect.chunk_bytes = Entry<uint32_t>(options, "chunk_bytes");
  connect.interrupted = Interrupted;
  return connect;
}

client::JoinOptions JoinOptionsFrom(const py::dict& options) {
  client::JoinOptions join;
  join.role = Named(Entry<std::string>(options, "role"), client::SessionRole::kReader, "role");
  join.rank = Entry<uint32_t>(options, "rank");
  join.ranks = Entry<uint32_t>(options, "ranks");
  join.ranges = RangesFrom(options);
  join.pull_ranges_only = Entry<bool>(options, "pull_ranges_only");
  join.push_codec = Entry<std::string>(options, "push_codec");
  join.pull_codec = Entry<std::string>(options, "pull_codec");
  join.difference = Entry<std::string>(options, "difference");
  join.error_feedback = Entry<bool>(options, "error_feedback");
  join.error_feedback_decay = Entry<double>(options, "error_feedback_decay");
  join.replay_bytes_max = Entry<uint64_t>(options, "replay_bytes_max");
  join.max_in_flight = Entry<uint32_t>(options, "max_in_flight");
  join.heartbeat_interval = Milliseconds(options, "heartbeat_interval_ms");
  return join;
}

client::PullOptions PullOptionsFrom(const py::dict& options) {
  client::PullOptions pull;
  pull.view = Entry<std::string>(options, "view");
  pull.timeout = Milliseconds(options, "timeout_ms");
  const py::object since = options["since"];
  if (!since.is_none()) pull.since = VersionFrom(since);
  pull.wait = Entry<bool>(options, "wait");
  pull.codec = Entry<std::string>(options, "codec");
  pull.fragment = Entry<std::optional<uint32_t>>(options, "fragment");
  return pull;
}

client::PushOptions PushOptionsFrom(const py::dict& options) {
  client::PushOptions push;
  push.samples = Entry<uint64_t>(options, "samples");
  push.local_steps = Entry<uint64_t>(options, "local_steps");
  push.loss_scale = Entry<double>(options, "loss_scale");
  const py::object health = options["health"];
  if (!health.is_none()) push.health = HealthFrom(health);
  push.present = Entry<std::vector<bool>>(options, "present");
  push.fragment = Entry<std::optional<uint32_t>>(options, "fragment");
  push.view = Entry<std::string>(options, "view");
  push.timeout = Milliseconds(options, "timeout_ms");
  return push;
}

client::Health HealthFrom(const py::object& health) {
  using Number = std::optional<double>;
  client::Health converted;
  converted.train_loss = Field<Number>(health, "train_loss");
  converted.tokens = Field<Number>(health, "tokens");
  converted.tokens_per_second = Field<Number>(health, "tokens_per_second");
  converted.gradient_norm = Field<Number>(health, "gradient_norm");
  converted.inner_learning_rate = Field<Number>(health, "inner_learning_rate");
  converted.compute_seconds = Field<Number>(health, "compute_seconds");
  converted.wait_seconds = Field<Number>(health, "wait_seconds");
  return converted;
}

client::Version VersionFrom(const py::object& version) {
  return {Field<uint64_t>(version, "term"), Field<uint64_t>(version, "counter")};
}

}  // namespace stepback::python
