#include "server/tools/weight_replay.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "kernels/rule_info.h"
#include "server/base/status_macros.h"
#include "server/core/model_version.h"
#include "server/core/spec_check.h"
#include "server/store/safetensors_writer.h"
#include "server/store/snapshot_reader.h"
#include "server/telemetry/log.h"
#include "server/tools/inspect_snapshots.h"

namespace stepback {
namespace {

constexpr TimePoint kReplayOrigin{std::chrono::hours(24)};  // of the model's time; any will do
constexpr size_t kPieceFloats = 64 * 1024;

constexpr SafetensorsDtype kFileTypes[] = {
    SafetensorsDtype::kF32,  SafetensorsDtype::kF32, SafetensorsDtype::kF64, SafetensorsDtype::kF16,
    SafetensorsDtype::kBf16, SafetensorsDtype::kI8,  SafetensorsDtype::kI16, SafetensorsDtype::kI32,
    SafetensorsDtype::kI64,  SafetensorsDtype::kU8,  SafetensorsDtype::kBool};

absl::StatusOr<ModelSpec> WithOuter(const ModelSpec& spec, const OuterChange& change) {
  ModelSpec other = spec;
  if (!change.rule.empty() && change.rule != spec.outer.name) other.outer = {.name = change.rule};
  for (const auto& [name, value] : change.values) {
    other.outer.values[name] = value;
    other.outer.schedules.erase(name);
  }
  RETURN_IF_ERROR(ValidateSpec(other));
  return other;
}

// Another rule begins with its own slots and counts; the same one goes on with those that it has.
void BeginOuterAnew(ModelVersion* version) {
  version->outer_slots.clear();
  auto counters = std::make_shared<std::vector<TensorCounters>>(*version->counters);
  for (TensorCounters& counter : *counters) {
    counter.outer_steps = 0;
    std::fill_n(counter.outer_carry, kernels::kMaxCarry, 1.0);
  }
  version->counters = std::move(counters);
}

bool IsPast(const Version& version, const Version& to) {
  return to.term == 0 ? version.counter > to.counter : version > to;
}

bool IsThere(const Version& version, const Version& to) {
  return version.counter == to.counter && (to.term == 0 || version.term == to.term);
}

}  // namespace

absl::StatusOr<OuterChange> ParseOuterChange(const std::string& text) {
  OuterChange change;
  const std::vector<std::string> parts = absl::StrSplit(text, ',');
  for (const std::string& part : parts) {
    const std::pair<std::string, std::string> pair = absl::StrSplit(part, absl::MaxSplits('=', 1));
    double value = 0;
    if (pair.first == "outer" && !pair.second.empty()) {
      change.rule = pair.second;
    } else if (!pair.first.empty() && absl::SimpleAtod(pair.second, &value)) {
      change.values[pair.first] = value;
    } else {
      return absl::InvalidArgumentError(
          fmt::format("'{}' is neither outer=RULE nor a hyperparameter=NUMBER", part));
    }
  }
  return change;
}

// --- one trajectory ---

struct WeightReplay::Line {
  std::unique_ptr<Model> model;
  std::unique_ptr<Replay> replay;
  std::shared_ptr<const ModelVersion> told;  // the last that was shown

  std::shared_ptr<const ModelVersion> current() const { return model->current(); }
};

WeightReplay::WeightReplay(FileSystem* fs, const ModelDirectory& model)
    : fs_(fs),
      model_(model),
      backend_(kernels::MakeCpuBackend("", &pool_)),
      executor_(static_cast<int>(std::max(1u, std::thread::hardware_concurrency()))),
      files_{fs, model.path, model.model, LogRecovery::kStrict, &pool_} {
  SetLogLevel(LogLevel::kOff);  // what calls did is shown by whoever asked
}

WeightReplay::~WeightReplay() = default;

absl::StatusOr<std::unique_ptr<WeightReplay>> WeightReplay::Open(FileSystem* fs, const ModelDirectory& model,
                                                                 const std::optional<OuterChange>& change) {
  std::unique_ptr<WeightReplay> replay(new WeightReplay(fs, model));
  RETURN_IF_ERROR(replay->FindSnapshot());
  ASSIGN_OR_RETURN(replay->real_, replay->Begin(std::nullopt));
  if (change.has_value()) {
    ASSIGN_OR_RETURN(replay->other_, replay->Begin(change));
  }
  return replay;
}

// The oldest one behind which the log is still there.
absl::Status WeightReplay::FindSnapshot() {
  ASSIGN_OR_RETURN(std::vector<InspectedSnapshot> snapshots, InspectManifests(fs_, model_));
  std::reverse(snapshots.begin(), snapshots.end());
  absl::Status why = absl::FailedPreconditionError(
      fmt::format("model '{}' has no log of its calls; only models of durability PUSH do", model_.model));
  for (const InspectedSnapshot& snapshot : snapshots) {
    const absl::StatusOr<std::optional<uint64_t>> needed =
        snapshot.status.ok() ? OldestNeededBy(snapshot.manifest.meta) : snapshot.status;
    if (!needed.ok()) why = needed.status();
    if (!needed.ok() || !needed->has_value()) continue;
    ASSIGN_OR_RETURN(image_, Load(snapshot.generation));
    absl::StatusOr<LogScan> scan = ScanLog(files_, *image_.open);
    why = scan.status();
    if (!scan.ok()) continue;
    scan_ = *std::move(scan);
    generation_ = snapshot.generation;
    return absl::OkStatus();
  }
  return why;
}

absl::StatusOr<LoadedImage> WeightReplay::Load(uint64_t generation) {
  SnapshotReader reader(fs_, model_.path, model_.model);
  ASSIGN_OR_RETURN(const Manifest manifest, reader.ReadManifest(generation));
  ImageLoader loader(backend_.get(), &pool_);
  RETURN_IF_ERROR(reader.ReadArrays(manifest, loader.allocator()));
  return loader.Finish(manifest.meta);
}

absl::StatusOr<std::unique_ptr<WeightReplay::Line>> WeightReplay::Begin(
    const std::optional<OuterChange>& change) {
  std::shared_ptr<const ModelVersion> image = image_.version;
  if (change.has_value()) {
    ModelVersion other = *image;
    ASSIGN_OR_RETURN(ModelSpec spec, WithOuter(*image->spec, *change));
    if (spec.outer.name != image->spec->outer.name) BeginOuterAnew(&other);
    other.spec = std::make_shared<const ModelSpec>(std::move(spec));
    image = std::make_shared<const ModelVersion>(std::move(other));
  }
  OpenState state = image_.open->state;
  ShiftTimes(kReplayOrigin.time_since_epoch(), &state);
  auto line = std::make_unique<Line>();
  const auto fetch = [this](const PushRef& push) { return FetchPush(files_, push); };
  ASSIGN_OR_RETURN(line->model, Model::FromImage(image, state, fetch, {backend_.get(), &executor_}));
  const auto load = [this](uint64_t generation) -> absl::StatusOr<std::shared_ptr<const ModelVersion>> {
    ASSIGN_OR_RETURN(const LoadedImage loaded, Load(generation));
    return loaded.version;
  };
  line->replay =
      std::make_unique<Replay>(line->model.get(), backend_.get(), kReplayOrigin, scan_.failures, load);
  line->told = line->current();
  return line;
}

// --- the way ---

absl::StatusOr<double> WeightReplay::Distance(const Array& a, const Array& b) const {
  std::vector<float> x(kPieceFloats), y(kPieceFloats);
  double squares = 0;
  for (uint64_t at = 0; at < a->bytes(); at += kPieceFloats * sizeof(float)) {
    const uint64_t bytes = std::min<uint64_t>(kPieceFloats * sizeof(float), a->bytes() - at);
    if (backend_->Download(*a, at, reinterpret_cast<std::byte*>(x.data()), bytes) != kernels::Status::kOk ||
        backend_->Download(*b, at, reinterpret_cast<std::byte*>(y.data()), bytes) != kernels::Status::kOk) {
      return absl::InternalError("reading weights to compare them failed");
    }
    for (size_t i = 0; i < bytes / sizeof(float); ++i) {
      const double difference = static_cast<double>(x[i]) - static_cast<double>(y[i]);
      squares += difference * difference;
    }
  }
  return std::sqrt(squares);
}

absl::Status WeightReplay::Compare(Line* line, const Line* real,
                                   const std::function<void(const ReplayedVersion&)>& seen) {
  const std::shared_ptr<const ModelVersion> current = line->current();
  if (current->version == line->told->version) return absl::OkStatus();
  line->told = current;
  ReplayedVersion version{
      .version = current->version, .update_norm = current->update_norm, .weight_norm = current->weight_norm};
  if (real != nullptr) {
    ASSIGN_OR_RETURN(version.distance, Distance(current->phi, real->current()->phi));
  }
  seen(version);
  return absl::OkStatus();
}

absl::StatusOr<ReplayedWeights> WeightReplay::Run(const std::optional<Version>& to,
                                                  const std::function<void(const ReplayedVersion&)>& seen) {
  Line* const line = other_ != nullptr ? other_.get() : real_.get();
  ReplayedWeights result{.generation = generation_, .from = image_.version->version};
  result.version = line->current();
  std::shared_ptr<const ModelVersion> real = real_->current();
  const auto make = [&](const LoggedCall& call, LogEntry entry) -> absl::StatusOr<bool> {
    if (to.has_value() && IsPast(line->current()->version, *to)) return false;
    if (other_ != nullptr) RETURN_IF_ERROR(other_->replay->Make(call, entry));
    RETURN_IF_ERROR(real_->replay->Make(call, std::move(entry)));
    if (to.has_value() && IsPast(line->current()->version, *to)) return false;
    ++result.calls;
    result.version = line->current();
    real = real_->current();
    RETURN_IF_ERROR(Compare(line, other_ != nullptr ? real_.get() : nullptr, seen));
    return true;
  };
  RETURN_IF_ERROR(ReadCalls(files_, *image_.open, make).status());
  if (to.has_value() && !IsThere(result.version->version, *to)) {
    return absl::NotFoundError(
        fmt::format("model '{}': no version {} between snapshot {} (version {}) and the end of the log; the "
                    "last one before "
                    "it is {}",
                    model_.model, to->term == 0 ? std::to_string(to->counter) : to->ToString(), generation_,
                    result.from.ToString(), result.version->version.ToString()));
  }
  ASSIGN_OR_RETURN(result.state_hash, StateHash(*result.version, backend_.get()));
  if (other_ != nullptr) {
    ASSIGN_OR_RETURN(result.real_hash, StateHash(*real, backend_.get()));
  }
  return result;
}

absl::Status WeightReplay::WriteFile(const ModelVersion& version, const std::string& path) const {
  std::vector<SafetensorsTensor> tensors;
  std::map<std::string, const TensorPlace*> places;
  for (size_t t = 0; t < version.spec->tensors.size(); ++t) {
    const TensorSpec& spec = version.spec->tensors[t];
    const bool carried = spec.role == Role::kCarried;
    tensors.push_back(
        {.name = spec.name,
         .dtype = carried ? kFileTypes[static_cast<size_t>(spec.dtype)] : SafetensorsDtype::kF32,
         .shape = spec.shape});
    places[spec.name] = &version.layout->tensors()[t];
  }
  ASSIGN_OR_RETURN(SafetensorsHeader header,
                   LayOutSafetensors(std::move(tensors), {{"format", "pt"},
                                                          {"stepback.model", version.spec->name},
                                                          {"stepback.version", version.version.ToString()}}));
  ASSIGN_OR_RETURN(const auto file, fs_->OpenForWrite(path, WriteMode::kTruncate));
  SafetensorsWriter writer(std::move(header), [&](std::span<const std::byte> b) { return file->Append(b); });
  std::vector<std::byte> bytes;
  for (const SafetensorsTensor& tensor : writer.header().tensors) {
    bytes.resize(tensor.bytes());
    const uint64_t at = places.at(tensor.name)->arena_begin * sizeof(float);
    if (backend_->Download(*version.phi, at, bytes.data(), bytes.size()) != kernels::Status::kOk)
      return absl::InternalError(fmt::format("reading tensor '{}' failed", tensor.name));
    RETURN_IF_ERROR(writer.Write(bytes));
  }
  RETURN_IF_ERROR(writer.Finish());
  return file->Close();
}

}  // namespace stepback
