// What the server says about itself, its models, sessions and snapshots: plain values.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "stepback/definition.h"
#include "stepback/version.h"

namespace stepback::client {

using WallTime = std::chrono::system_clock::time_point;

// One fragment of a model, as it is.
struct FragmentInfo {
  std::vector<ElementRange> ranges;  // its elements, ascending; empty in Server::ListModels
  uint32_t offset = 0;               // local step, modulo H, of its pushes
  Version version;                   // that changed it last
  uint64_t outer_steps = 0;
  uint64_t inner_steps = 0;
  uint64_t samples = 0;
};

struct ModelInfo {
  ModelDefinition definition;  // without tensors in Server::ListModels
  Version version;
  Version durable_version;  // on disk; term 0: none yet
  uint64_t settings_version = 0;
  std::string fingerprint;  // SHA-256 of the tensor table, 32 raw bytes
  uint64_t parameters = 0;
  uint64_t inner_steps = 0;
  uint64_t outer_steps = 0;
  uint64_t samples = 0;
  uint32_t sessions = 0;
  WallTime created_at;
  bool finished = false;
  uint64_t state_bytes = 0;
  std::string state_hash;        // hex; only when asked for
  std::string unhealthy_reason;  // empty, or why the model refuses pushes
  std::vector<FragmentInfo> fragments;
};

struct SnapshotInfo {
  std::string model;
  uint64_t generation = 0;
  std::string label;
  Version version;
  WallTime created_at;
  uint64_t bytes = 0;
  uint64_t inner_steps = 0;
  uint64_t outer_steps = 0;
  uint64_t samples = 0;
};

// The worker's own numbers, shown as gauges; any may be absent. Never used in a decision.
struct Health {
  std::optional<double> train_loss;
  std::optional<double> tokens;  // since the previous report
  std::optional<double> tokens_per_second;
  std::optional<double> gradient_norm;
  std::optional<double> inner_learning_rate;
  std::optional<double> compute_seconds;  // of the last round
  std::optional<double> wait_seconds;     // of the last round
};

enum class SessionRole : uint8_t { kTrainer = 1, kReader };
std::string NameOf(SessionRole role);

struct SessionInfo {
  std::string model;
  std::string client_id;
  SessionRole role = SessionRole::kTrainer;
  uint64_t epoch = 0;
  uint64_t last_sequence = 0;
  uint64_t durable_sequence = 0;
  double lease_remaining_seconds = 0;
  double quarantine_remaining_seconds = 0;  // not 0: thrown out (ModelDefinition::quarantine), without a session
  bool contributed = false;  // in the open round already
  uint64_t pushes = 0;
  uint64_t staleness = 0;
  Health health;
};

struct ServerInfo {
  std::string version;
  std::string revision;
  std::vector<std::string> devices;
  std::vector<std::string> features;
  uint32_t protocol_version = 0;
  std::string grpc_version;
  double uptime_seconds = 0;
  bool draining = false;
  uint32_t compute_threads = 0;
};

struct HyperInfo {
  std::string name;
  double default_value = 0;
  double min = 0;
  double max = 0;
  bool min_open = false;
  bool max_open = false;
  bool integer = false;
  std::string doc;
};

struct RuleInfo {
  std::string name;
  std::string kind;  // "inner", "outer", "average"
  std::string citation;
  std::vector<HyperInfo> hypers;
  std::vector<std::string> slots;
  uint32_t bytes_per_parameter = 0;
  std::string eval_slot;       // what readers of the eval view get; empty: the weights
  bool takes_weights = false;  // pushes hold weights, not deltas
};

struct CodecInfo {
  std::string name;
  uint64_t block_elements = 1;
  std::string error_bound;
};

struct ScheduleParameter {
  std::string name;
  bool required = false;
  double default_value = 0;  // means nothing when required
  double min = 0;
  double max = 0;
  bool integer = false;
  bool min_open = false;  // `min` itself is out of bounds
};

// A curve that a hyperparameter may follow (Rule::schedules).
struct ScheduleInfo {
  std::string name;
  std::string doc;
  std::vector<ScheduleParameter> parameters;
};

// A function that Rounds::staleness may name.
struct StalenessInfo {
  std::string name;
  std::string doc;
  std::string citation;
  std::vector<ScheduleParameter> parameters;
};

// A published algorithm by name: spelled out when a model is made.
struct PresetInfo {
  std::string name;
  std::string doc;
  std::string citation;
  Rule outer;
  std::optional<Mode> mode;  // unset: either
  uint32_t sync_period = 0;  // recommended k or H; 0: the source names none
  Rounds rounds;             // policy, buffer_pushes and staleness; the rest are defaults
};

struct RuleList {
  std::vector<RuleInfo> rules;
  std::vector<CodecInfo> codecs;
  std::vector<ScheduleInfo> schedules;
  std::vector<StalenessInfo> staleness_weights;
  std::vector<PresetInfo> presets;
};

// A change of the published version.
struct VersionEvent {
  Version version;
  Version durable_version;
  uint64_t settings_version = 0;
  bool finished = false;
};

}  // namespace stepback::client
