// A model's specification as plain data: the proto's ModelSpec with every default filled in. rpc/wire converts;
// ValidateSpec (spec_check.h) checks; nothing below rpc sees the proto form.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace stepback {

enum class DataType : uint8_t { kF32 = 1, kF64, kF16, kBf16, kI8, kI16, kI32, kI64, kU8, kBool };  // = proto numbers
enum class Role : uint8_t { kTrained = 1, kAveraged, kCarried, kFrozen };
enum class Mode : uint8_t { kGradient = 1, kDelta };
enum class RoundPolicy : uint8_t { kSync = 1, kAsync, kBuffered };
enum class Reduction : uint8_t { kRunning = 1, kOrdered };
enum class AccumulateType : uint8_t { kF32 = 1, kF64 };
enum class Weighting : uint8_t { kEqual = 1, kSamples };
enum class InnerState : uint8_t { kKeep = 1, kReset, kPullback };
enum class Durability : uint8_t { kVolatile = 1, kRound, kPush, kReplicated };
enum class PushKind : uint8_t { kGradient = 1, kDelta, kWeights };
enum class SessionRole : uint8_t { kTrainer = 1, kReader };

struct TensorSpec {
  std::string name;
  std::vector<uint64_t> shape;
  DataType dtype = DataType::kF32;
  Role role = Role::kTrained;
  friend bool operator==(const TensorSpec&, const TensorSpec&) = default;
};

// A rule by name; values differ from the rule's defaults. "none": no rule.
struct RuleSpec {
  std::string name;
  std::map<std::string, double> values;
  std::map<std::string, std::string> options;
  struct Schedule {
    std::string name;
    std::map<std::string, double> values;
    friend bool operator==(const Schedule&, const Schedule&) = default;
  };
  std::map<std::string, Schedule> schedules;
  friend bool operator==(const RuleSpec&, const RuleSpec&) = default;
};

struct GroupSpec {
  std::string name;
  std::vector<std::string> tensors;
  std::optional<RuleSpec> inner;   // unset: the model's
  double lr_scale = 1;
  friend bool operator==(const GroupSpec&, const GroupSpec&) = default;
};

// An average of the slow weights that readers may ask for by name.
struct AverageSpec {
  std::string name;
  RuleSpec rule;
  friend bool operator==(const AverageSpec&, const AverageSpec&) = default;
};
inline constexpr size_t kMaxAverages = 4;
// How much a push counts by its age (staleness_weight.h); no name: by staleness_exponent.
struct StalenessSpec {
  std::string name;
  std::map<std::string, double> values;
  friend bool operator==(const StalenessSpec&, const StalenessSpec&) = default;
};

struct RoundSpec {
  RoundPolicy policy = RoundPolicy::kSync;
  uint32_t quorum = 1;
  double deadline_seconds = 0;             // 0: wait for all live workers
  uint32_t buffer_pushes = 10;
  std::optional<uint32_t> max_staleness;   // unset: sync 1, else 4 x live workers
  Reduction reduction = Reduction::kRunning;
  AccumulateType accumulate = AccumulateType::kF32;
  Weighting weighting = Weighting::kEqual;
  uint32_t max_workers = 64;
  double staleness_exponent = 0;
  StalenessSpec staleness;
  double grace_seconds = 0;                // sync: at most so long after the quorum; 0: no bound
  double grace_factor = 0;                 // sync: window in medians of how long recent quorums took; 0: not adaptive
  bool dynamic_local_steps = false;        // async, buffered: H by each worker's pace (local_steps.h)
  RuleSpec aggregator = {.name = "mean"};  // aggregator_choice.h
  uint32_t history_versions = 0;           // past fast weights kept for delay compensation (weight_history.h)
  friend bool operator==(const RoundSpec&, const RoundSpec&) = default;
};

// Parts of the tensor table that sync on their own schedules (fragment_table.h).
struct FragmentPart {
  std::vector<std::string> tensors;
  std::optional<uint32_t> offset;  // unset: index x sync_period / fragments
  friend bool operator==(const FragmentPart&, const FragmentPart&) = default;
};
struct FragmentSpec {
  uint32_t count = 0;               // of about equal bytes, in table order
  std::vector<FragmentPart> parts;  // or one by one
  uint32_t overlap_steps = 0;       // tau
  std::optional<double> mixing;     // alpha; unset: 0 without overlap, 0.5 with it
  bool any() const { return count > 0 || !parts.empty(); }
  friend bool operator==(const FragmentSpec&, const FragmentSpec&) = default;
};
inline constexpr size_t kMaxFragments = 256;

// Bounds of the aggregate before any rule sees it (kernels/clip.h), and of each contribution's norm before it
// is folded; 0: none.
struct ClipSpec {
  double value = 0;
  double tensor_norm = 0;
  double global_norm = 0;
  double contribution_norm = 0;
  friend bool operator==(const ClipSpec&, const ClipSpec&) = default;
};

// Pushes in a row that are not finite end their client's session, and it may not open another for a while
// (nonfinite_run.h).
struct QuarantineSpec {
  uint32_t after = 3;   // so many; 0: never
  double seconds = 60;
  friend bool operator==(const QuarantineSpec&, const QuarantineSpec&) = default;
};

struct ModelSpec {
  std::string name;
  std::vector<TensorSpec> tensors;
  std::vector<GroupSpec> groups;
  Mode mode = Mode::kDelta;
  RuleSpec inner;                       // gradient mode only
  RuleSpec outer;
  uint32_t sync_period = 5;
  InnerState inner_state = InnerState::kKeep;
  RoundSpec rounds;
  Durability durability = Durability::kRound;
  double snapshot_interval_seconds = 60;
  double lease_seconds = 60;
  uint64_t staging_bytes = 0;           // 0: chosen (spec_check.h, StagingBudget)
  uint32_t max_live_versions = 4;
  std::string description;
  std::map<std::string, std::string> labels;
  uint64_t finish_after_steps = 0;
  uint64_t finish_after_samples = 0;
  ClipSpec clip;
  QuarantineSpec quarantine;
  std::vector<AverageSpec> averages;  // at most kMaxAverages
  std::optional<RuleSpec::Schedule> sync_period_schedule;   // of outer steps; k = max(1, round(sync_period x factor))
  FragmentSpec fragments;  // delta mode
  double expected_push_bytes_per_s = 0;  // of all workers together; 0: not said. For durability PUSH: the log's rate
  friend bool operator==(const ModelSpec&, const ModelSpec&) = default;
};

}  // namespace stepback
