// What a model is: its tensor table and its rules, as plain values. Defaults are the server's; the server
// checks.
//
//   ModelDefinition lm{.name = "lm", .tensors = table};
//   lm.outer = Rule{"nesterov", {{"lr", 0.7}, {"momentum", 0.9}}};
//   lm.rounds.quorum = 2;
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "stepback/tensor.h"

namespace stepback::client {

enum class Mode : uint8_t { kGradient = 1, kDelta };
enum class RoundPolicy : uint8_t { kSync = 1, kAsync, kBuffered };
enum class Reduction : uint8_t { kRunning = 1, kOrdered };
enum class AccumulateType : uint8_t { kF32 = 1, kF64 };
enum class Weighting : uint8_t { kEqual = 1, kSamples };
enum class InnerState : uint8_t { kKeep = 1, kReset, kPullback };
enum class Durability : uint8_t { kVolatile = 1, kRound, kPush, kReplicated };

// "gradient", "delta"; "sync", ...: the words of the CLI and of JSON.
std::string NameOf(Mode value);
std::string NameOf(RoundPolicy value);
std::string NameOf(Reduction value);
std::string NameOf(AccumulateType value);
std::string NameOf(Weighting value);
std::string NameOf(InnerState value);
std::string NameOf(Durability value);

// A rate that changes with the step.
struct Schedule {
  std::string name;
  std::map<std::string, double> values;
  friend bool operator==(const Schedule&, const Schedule&) = default;
};

// A rule by name; `values` holds the hyperparameters that differ from its defaults (Server::ListRules).
struct Rule {
  std::string name;
  std::map<std::string, double> values;
  std::map<std::string, std::string> options;
  std::map<std::string, Schedule> schedules;
  friend bool operator==(const Rule&, const Rule&) = default;
};

// Tensors that share an inner rule and a learning-rate multiplier.
struct Group {
  std::string name;
  std::vector<std::string> tensors;
  std::optional<Rule> inner;  // unset: the model's
  double lr_scale = 1;
  friend bool operator==(const Group&, const Group&) = default;
};

// An average of the slow weights, for readers that ask for view "average:NAME". Before its first sample it
// shows the slow weights themselves.
struct Average {
  std::string name;  // 1 to 64 characters of [a-z0-9_.-]
  Rule rule;         // ListRules, kind "average"
  friend bool operator==(const Average&, const Average&) = default;
};

// How much a push counts by its age; no name: by Rounds::staleness_exponent.
struct Staleness {
  std::string name;
  std::map<std::string, double> values;
  friend bool operator==(const Staleness&, const Staleness&) = default;
};

// How a round closes.
struct Rounds {
  RoundPolicy policy = RoundPolicy::kSync;
  uint32_t quorum = 1;
  double deadline_seconds = 0;            // 0: wait for all live workers
  uint32_t buffer_pushes = 10;            // kBuffered
  std::optional<uint32_t> max_staleness;  // unset: sync 1, else 4 x live workers
  Reduction reduction = Reduction::kRunning;
  AccumulateType accumulate = AccumulateType::kF32;
  Weighting weighting = Weighting::kEqual;
  uint32_t max_workers = 64;      // kOrdered: most staged contributions
  double staleness_exponent = 0;  // kAsync, kBuffered: weight (1 + staleness)^-a
  Staleness staleness;            // kAsync, kBuffered: another weight than that
  double grace_seconds = 0;       // kSync: longest wait after the quorum; 0: not bounded so
  double grace_factor = 0;        // kSync: the same in medians of what recent quorums took; 0: not adaptive
  bool dynamic_local_steps = false;  // kAsync, kBuffered: H by each worker's pace (PushResult::local_steps)
  // How contributions become one; unset: their mean. {"krum", {{"f", 1}}}, {"trimmed_mean", {{"beta", 0.2}}}
  // and others (ListRules, kind "aggregator"); they need kSync or kBuffered, kOrdered, kEqual and a quorum
  // that suits.
  std::optional<Rule> aggregator;
  uint32_t history_versions = 0;  // staleness "delay_compensated": past weights kept, 0: 8; else 0
  friend bool operator==(const Rounds&, const Rounds&) = default;
};

// Bounds of the mean gradient (gradient mode) or mean delta, applied in this order before any rule, and of
// each push's norm before it enters the mean; 0: none.
struct Clip {
  double value = 0;        // elements to [-value, value]
  double tensor_norm = 0;  // L2 norm of each tensor
  double global_norm = 0;  // L2 norm of all trained tensors together
  double contribution_norm = 0;  // the same of every single push
  friend bool operator==(const Clip&, const Clip&) = default;
};

// Parts of the tensor table that sync on their own schedules (Streaming DiLoCo; delta mode).
struct FragmentPart {
  std::vector<std::string> tensors;
  std::optional<uint32_t> offset;  // local step, modulo H, of its pushes; unset: index x H / fragments
  friend bool operator==(const FragmentPart&, const FragmentPart&) = default;
};
struct Fragments {
  uint32_t count = 0;               // of about equal bytes, in table order, at most 256
  std::vector<FragmentPart> parts;  // or one by one
  uint32_t overlap_steps = 0;       // tau: local steps between sending a fragment and taking its result
  std::optional<double> mixing;     // alpha of theta = alpha theta + (1 - alpha) received; unset: 0, or 0.5
                                    // with overlap
  friend bool operator==(const Fragments&, const Fragments&) = default;
};

// Pushes in a row with a NaN or an infinity end their worker's session, and it may not join again for a while.
struct Quarantine {
  std::optional<uint32_t> after;  // so many; unset: 3; 0: never. 20 overflows under loss scaling do as well
  double seconds = 0;             // 0: 60
  friend bool operator==(const Quarantine&, const Quarantine&) = default;
};

struct ModelDefinition {
  std::string name;
  std::vector<Tensor> tensors;
  std::vector<Group> groups;
  Mode mode = Mode::kDelta;
  std::optional<Rule> inner;  // gradient mode; unset: sgd
  std::optional<Rule>
      outer;  // unset: lookahead (gradient mode), nesterov (delta mode); "none": no slow weights
  uint32_t sync_period =
      0;  // gradient mode: k (0: 5); delta mode: the H told to workers (0: theirs to choose)
  std::optional<Schedule> sync_period_schedule;  // of outer steps: max(1, round(sync_period x factor))
  InnerState inner_state = InnerState::kKeep;
  Rounds rounds;
  Durability durability = Durability::kRound;
  double expected_push_bytes_per_s = 0;  // of all workers together, for durability PUSH; 0: not said
  double snapshot_interval_seconds = 0;  // 0: the server's default
  double lease_seconds = 0;              // 0: 60
  uint64_t staging_bytes = 0;            // 0: chosen by the server
  uint32_t max_live_versions = 0;        // 0: 4
  std::string description;
  std::map<std::string, std::string> labels;
  uint64_t finish_after_steps = 0;    // 0: never
  uint64_t finish_after_samples = 0;  // 0: never
  Clip clip;
  Quarantine quarantine;
  std::vector<Average> averages;      // at most 4
  Fragments fragments;                // none: the model syncs as a whole
};

// What the server tells workers, and may change while they run.
struct Settings {
  uint64_t settings_version = 0;
  Mode mode = Mode::kDelta;
  uint32_t sync_period = 0;  // as of the newest version pulled: its schedule applied
  Rule inner;
  Rule outer;
  InnerState inner_state = InnerState::kKeep;
  Rounds rounds;
  std::vector<Group> groups;  // without tensor names
  Clip clip;
  bool takes_weights = false;  // pushes hold theta itself and not base - theta (outer rule "fed_async")
  uint32_t fragments = 0;  // how many; 0: the model syncs as a whole
  uint32_t overlap_steps = 0;
  double mixing = 0;
};

}  // namespace stepback::client
