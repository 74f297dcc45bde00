#include "tests/sim/server.h"

#include <fmt/format.h>

#include <cstring>
#include <optional>
#include <utility>

#include "tests/sim/planted.h"

namespace stepback::sim {
namespace {

using std::chrono::milliseconds;

}  // namespace

Server::Server(const Plan& plan, FakeClock* clock, EventQueue* events, Random* random, Oracle* oracle)
    : plan_(plan),
      clock_(clock),
      events_(events),
      random_(random),
      oracle_(oracle),
      disk_(plan.seed),
      faulty_(MakePlantedFileSystem(&disk_)),
      backend_(kernels::MakeCpuBackend("generic", &pool_)) {}

absl::Status Server::TryStart() {
  Engine::Options options;
  options.data_dir = "/data";
  options.file_system = faulty_.get();
  options.clock = clock_;
  options.backend = backend_.get();
  options.executor = &executor_;
  options.own_threads = false;
  options.pool = &pool_;
  options.metrics = &metrics_;
  options.ticker = false;
  options.log_segment_bytes = 64 << 10;  // a push is a hundred bytes here, and every segment is to be seen
  absl::StatusOr<std::unique_ptr<Engine>> started = Engine::Start(options);
  if (!started.ok()) return started.status();
  engine_ = *std::move(started);
  return absl::OkStatus();
}

bool Server::Create() {
  if (const absl::Status started = TryStart(); !started.ok()) {
    oracle_->Violate(fmt::format("the first start failed: {}", started.ToString()));
    return false;
  }
  auto upload = engine_->StartCreate(plan_.spec, /*zeros=*/true, /*codec=*/0, 0);
  absl::Status failed = upload.status();
  if (upload.ok()) {
    (*upload)->Finish([&](absl::StatusOr<Created> created) {
      failed = created.status();
      if (!created.ok()) return;
      model_ = created->handle;
      // A VOLATILE model is on disk only when somebody saves it.
      if (plan_.spec.durability == Durability::kVolatile)
        model_->SaveSnapshot("", [](const absl::StatusOr<SnapshotInfo>&) {});
    });
    while (engine_->RunOne([](size_t) { return size_t{0}; })) {
    }
  }
  if (model_ == nullptr) oracle_->Violate(fmt::format("the model was not created: {}", failed.ToString()));
  if (model_ != nullptr) Observe();
  return model_ != nullptr;
}

void Server::Start() {
  if (dies_in_recovery_ != 0) disk_.FailCallsFrom(disk_.calls() + static_cast<int64_t>(dies_in_recovery_));
  const bool dies = std::exchange(dies_in_recovery_, 0) != 0;
  absl::Status started = TryStart();
  if (started.ok()) {
    absl::StatusOr<std::shared_ptr<Handle>> model = engine_->Find("m");
    started = model.status();
    if (model.ok()) model_ = *std::move(model);
  }
  if (!started.ok() && !dies) {
    // A storage error may have struck; the operator's supervisor starts it again.
    if (++failed_starts_ == 4)
      oracle_->Violate(fmt::format("the server does not come back: {}", started.ToString()));
    if (failed_starts_ < 4) Crash(FakeFileSystem::Unsynced::kKept, /*again_in_recovery=*/false, 0);
    return;
  }
  failed_starts_ = 0;
  if (model_ != nullptr) {
    const auto pin = model_->Pin();
    oracle_->OnRecovered(pin->version(), WeightsOf(model_.get(), pin),
                         std::exchange(lost_generation_, false));
    seen_ = {};
    Observe();
  }
  if (dies) Crash(FakeFileSystem::Unsynced::kTorn, /*again_in_recovery=*/false, 0);
}

void Server::Stop() {
  ++incarnation_;
  model_.reset();
  engine_.reset();
}

void Server::Crash(FakeFileSystem::Unsynced unsynced, bool again_in_recovery, uint64_t detail) {
  disk_.FailCallsFrom(disk_.calls() + 1);
  Stop();
  disk_.Crash(unsynced);
  disk_.SetCapacity(UINT64_MAX);
  if (again_in_recovery) dies_in_recovery_ = 1 + detail % 60;
  events_->After(milliseconds(50 + detail % 3000), [this, incarnation = incarnation_] {
    if (incarnation == incarnation_ && engine_ == nullptr) Start();
  });
}

void Server::Drain() {
  if (engine_ == nullptr) return;
  engine_->Drain([this, incarnation = incarnation_](const absl::Status&) {
    events_->After(Duration::zero(), [this, incarnation] {
      if (incarnation != incarnation_) return;
      Stop();
      events_->After(milliseconds(100), [this, now = incarnation_] {
        if (now == incarnation_ && engine_ == nullptr) Start();
      });
    });
  });
}

void Server::RollBack(Duration after) {
  if (model_ == nullptr) return;
  const std::string label = fmt::format("label-{}", ++labels_);
  model_->SaveSnapshot(label, [this, label, after, incarnation = incarnation_](const auto& saved) {
    if (incarnation != incarnation_ || !saved.ok()) return;
    oracle_->OnLabelled(label, saved->version);
    events_->After(after, [this, label] { Restore(label); });
  });
}

void Server::Restore(const std::string& label) {
  if (model_ == nullptr || restoring_in_ == incarnation_) return;
  restoring_in_ = incarnation_;
  oracle_->OnRestoring(label);
  model_->RestoreSnapshot(label, 0,
                          [this, incarnation = incarnation_](const absl::StatusOr<ModelInfo>& info) {
                            if (incarnation != incarnation_) return;
                            restoring_in_.reset();
                            if (info.ok()) oracle_->OnRestored();
                          });
}

bool Server::RunOne() {
  if (engine_ == nullptr) return false;
  if (!engine_->RunOne([this](size_t count) { return random_->Below(count); })) return false;
  Observe();
  return true;
}

void Server::Tick() {
  if (engine_ != nullptr) engine_->Tick();
}

void Server::Observe() {
  if (model_ == nullptr) return;
  const auto pin = model_->Pin();
  const bool durable = pin->durable();
  if (pin->version().version == seen_ && durable == seen_durable_) return;
  seen_ = pin->version().version;
  seen_durable_ = durable;
  oracle_->OnVersion(pin->version(), WeightsOf(model_.get(), pin), durable);
}

std::vector<float> Server::WeightsOf(Handle* model, const std::shared_ptr<PinnedVersion>& pin) {
  std::vector<float> weights;
  absl::StatusOr<std::unique_ptr<PullReader>> reader = model->Read(pin, {});
  if (!reader.ok()) return weights;
  weights.resize((*reader)->total_bytes() / sizeof(float));
  for (uint64_t i = 0; i < (*reader)->chunk_count(); ++i) {
    const absl::StatusOr<PullReader::ChunkOut> chunk = (*reader)->Chunk(i);
    if (!chunk.ok()) return {};
    uint64_t at = chunk->offset;
    for (const kernels::ByteSpan& span : chunk->data.view().spans()) {
      std::memcpy(reinterpret_cast<std::byte*>(weights.data()) + at, span.data, span.size);
      at += span.size;
    }
  }
  return weights;
}

void Server::FillDisk(Duration how_long) {
  uint64_t used = 0;
  for (const std::string& file : disk_.AllFiles()) used += disk_.Contents(file).size();
  disk_.SetCapacity(used + random_->Below(4096));
  events_->After(how_long, [this] { disk_.SetCapacity(UINT64_MAX); });
}

void Server::FailStorageCall(uint64_t calls_from_now) {
  disk_.FailCall(disk_.calls() + 1 + static_cast<int64_t>(calls_from_now),
                 absl::DataLossError("input/output error"));
}

void Server::RotNewestSnapshot(uint64_t detail) {
  std::string newest;
  int generations = 0;
  for (const std::string& file : disk_.AllFiles()) {
    generations += file.find("MANIFEST") != std::string::npos;
    if (file.find("snap-") != std::string::npos) newest = std::max(newest, file);
  }
  if (rotted_ || generations < 2 || newest.empty() || disk_.Contents(newest).empty()) return;
  rotted_ = true;
  disk_.FlipBit(newest, detail % (8 * disk_.Contents(newest).size()));
  lost_generation_ = true;
}

void Server::Heal() {
  disk_.StopFailing();
  disk_.SetCapacity(UINT64_MAX);
  dies_in_recovery_ = 0;
}

bool Server::needs_restart() const { return model_ != nullptr && !model_->Info().unhealthy_reason.empty(); }

}  // namespace stepback::sim
