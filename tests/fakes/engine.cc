#include "tests/fakes/engine.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "server/base/crc32c.h"
#include "server/base/errors.h"

namespace stepback {

using absl::StatusCode;

ModelSpec FakeSpec(const std::string& name, uint64_t elements) {
  ModelSpec spec;
  spec.name = name;
  spec.tensors = {{.name = "w", .shape = {elements}}};
  spec.outer.name = "nesterov";
  return spec;
}

class FakeHandle::FakeCancel final : public Cancel {
 public:
  explicit FakeCancel(std::function<void()> cancel) : cancel_(std::move(cancel)) {}
  ~FakeCancel() override { cancel_(); }

 private:
  const std::function<void()> cancel_;
};

class FakeHandle::FakeUpload final : public Upload {
 public:
  explicit FakeUpload(std::shared_ptr<FakeHandle> model) : model_(std::move(model)) {
    MutexLock lock(&model_->mu_);
    ++model_->live_uploads_;
    model_->Changed();
  }
  ~FakeUpload() override {
    MutexLock lock(&model_->mu_);
    --model_->live_uploads_;
    model_->Changed();
  }

  absl::Status AddChunk(uint64_t offset, uint32_t crc32c, Payload data) override {
    MutexLock lock(&model_->mu_);
    if (!model_->chunk_status_.ok()) return model_->chunk_status_;
    if (offset != bytes_) return Error(StatusCode::kInvalidArgument, "BAD_OFFSET", "not the next byte");
    if (Crc32c(data.view()) != crc32c)
      return Error(StatusCode::kInvalidArgument, "BAD_CRC", "wrong checksum");
    for (const kernels::ByteSpan& span : data.view().spans()) {
      model_->received_.append(reinterpret_cast<const char*>(span.data), span.size);
    }
    bytes_ += data.size();
    ++model_->chunks_;
    model_->Changed();
    return absl::OkStatus();
  }
  uint64_t bytes_received() const override { return bytes_; }
  void Finish(Done<PushAnswer> done) override {
    PushAnswer answer;
    {
      MutexLock lock(&model_->mu_);
      if (model_->hold_answers_) {
        model_->answers_.push_back(std::move(done));
        model_->Changed();
        return;
      }
      answer = model_->answer_;
    }
    done(answer);
  }

 private:
  const std::shared_ptr<FakeHandle> model_;
  uint64_t bytes_ = 0;
};

class FakeHandle::FakePin final : public PinnedVersion {
 public:
  FakePin(std::shared_ptr<FakeHandle> model, std::shared_ptr<const ModelVersion> version,
          std::shared_ptr<const std::vector<float>> weights)
      : weights(std::move(weights)), model_(std::move(model)), version_(std::move(version)) {}
  ~FakePin() override {
    MutexLock lock(&model_->mu_);
    --model_->live_pins_;
    model_->Changed();
  }

  const ModelVersion& version() const override { return *version_; }
  bool revoked() const override { return revoked_; }
  bool durable() const override { return false; }
  void OnRevoked(std::function<void()> callback) override {
    MutexLock lock(&mu_);
    callback_ = std::move(callback);
  }
  void Revoke() {
    revoked_ = true;
    std::function<void()> callback;
    {
      MutexLock lock(&mu_);
      std::swap(callback, callback_);
    }
    if (callback) callback();
  }

  const std::shared_ptr<const std::vector<float>> weights;

 private:
  const std::shared_ptr<FakeHandle> model_;
  const std::shared_ptr<const ModelVersion> version_;
  std::atomic<bool> revoked_ = false;
  Mutex mu_;
  std::function<void()> callback_ GUARDED_BY(mu_);
};

class FakeHandle::FakeReader final : public PullReader {
 public:
  FakeReader(std::shared_ptr<FakePin> pin, uint64_t chunk_bytes)
      : pin_(std::move(pin)), chunk_bytes_(chunk_bytes) {}

  uint64_t total_bytes() const override { return pin_->weights->size() * sizeof(float); }
  uint64_t chunk_count() const override { return (total_bytes() + chunk_bytes_ - 1) / chunk_bytes_; }
  absl::StatusOr<ChunkOut> Chunk(uint64_t index) override {
    if (pin_->revoked()) return Error(StatusCode::kAborted, "VERSION_GONE", "revoked");
    ChunkOut out;
    out.offset = index * chunk_bytes_;
    const uint64_t size = std::min(chunk_bytes_, total_bytes() - out.offset);
    const auto* bytes = reinterpret_cast<const std::byte*>(pin_->weights->data()) + out.offset;
    out.data.Append({bytes, size}, pin_);
    out.crc32c = Crc32c(bytes, size);
    return out;
  }
  const PinnedVersion& pin() const override { return *pin_; }

 private:
  const std::shared_ptr<FakePin> pin_;
  const uint64_t chunk_bytes_;
};

FakeHandle::FakeHandle(const ModelSpec& spec)
    : spec_(std::make_shared<const ModelSpec>(spec)), layout_(*Layout::Make(spec.tensors)) {
  auto version = std::make_shared<ModelVersion>();
  version->version = {1, 0};
  version->spec = spec_;
  version->layout = layout_;
  version_ = std::move(version);
  weights_ = std::make_shared<const std::vector<float>>(layout_->elements(), 0.0f);
  answer_.outcome = PushOutcome::kApplied;
}

void FakeHandle::HoldStarts(bool hold) {
  MutexLock lock(&mu_);
  hold_starts_ = hold;
}

void FakeHandle::ReleaseStarts() {
  std::deque<Start> starts;
  {
    MutexLock lock(&mu_);
    hold_starts_ = false;
    std::swap(starts, starts_);
  }
  for (const Start& start : starts) GiveUpload(start.done);
}

void FakeHandle::RefuseStarts(absl::Status status) {
  MutexLock lock(&mu_);
  start_status_ = std::move(status);
}

void FakeHandle::RefuseChunks(absl::Status status) {
  MutexLock lock(&mu_);
  chunk_status_ = std::move(status);
}

void FakeHandle::AnswerWith(PushAnswer answer) {
  MutexLock lock(&mu_);
  answer_ = std::move(answer);
}

void FakeHandle::AnswerDuplicate(PushAnswer first) {
  MutexLock lock(&mu_);
  duplicate_ = std::move(first);
}

void FakeHandle::HoldAnswers(bool hold) {
  MutexLock lock(&mu_);
  hold_answers_ = hold;
}

void FakeHandle::Publish(std::vector<float> weights) {
  std::deque<Wait> ready;
  std::shared_ptr<PinnedVersion> pin;
  {
    MutexLock lock(&mu_);
    auto next = std::make_shared<ModelVersion>(*version_);
    ++next->version.counter;
    version_ = std::move(next);
    weights_ = std::make_shared<const std::vector<float>>(std::move(weights));
    std::swap(ready, waits_);
    pin = PinLocked();
    Changed();
  }
  for (const Wait& wait : ready) wait.done(pin);
}

void FakeHandle::RevokeAll() {
  std::vector<std::shared_ptr<FakePin>> pins;
  {
    MutexLock lock(&mu_);
    for (const auto& pin : pins_) {
      if (auto held = pin.lock()) pins.push_back(std::move(held));
    }
  }
  for (const auto& pin : pins) pin->Revoke();
}

void FakeHandle::EndWaits(absl::Status status) {
  std::deque<Wait> waits;
  {
    MutexLock lock(&mu_);
    std::swap(waits, waits_);
  }
  for (const Wait& wait : waits) wait.done(status);
}

void FakeHandle::SetWaitingFor(std::string reason) {
  MutexLock lock(&mu_);
  waiting_for_ = std::move(reason);
}

bool FakeHandle::Eventually(const std::function<bool()>& condition) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    MutexLock lock(&mu_);
    changed_.WaitFor(&mu_, std::chrono::milliseconds(5));
  }
  return true;
}

size_t FakeHandle::held_starts() const {
  MutexLock lock(&mu_);
  return starts_.size();
}
size_t FakeHandle::held_answers() const {
  MutexLock lock(&mu_);
  return answers_.size();
}
size_t FakeHandle::live_uploads() const {
  MutexLock lock(&mu_);
  return live_uploads_;
}
size_t FakeHandle::chunks() const {
  MutexLock lock(&mu_);
  return chunks_;
}
size_t FakeHandle::waits() const {
  MutexLock lock(&mu_);
  return waits_.size();
}
size_t FakeHandle::live_pins() const {
  MutexLock lock(&mu_);
  return live_pins_;
}
uint64_t FakeHandle::received_bytes() const {
  MutexLock lock(&mu_);
  return received_.size();
}
std::vector<UploadRequest> FakeHandle::requests() const {
  MutexLock lock(&mu_);
  return requests_;
}
std::string FakeHandle::received() const {
  MutexLock lock(&mu_);
  return received_;
}
Version FakeHandle::version() const {
  MutexLock lock(&mu_);
  return version_->version;
}

void FakeHandle::Open(const OpenSession&, Done<SessionOpened> done) {
  SessionOpened opened;
  opened.session = {.epoch = 1, .last_sequence = 0};
  opened.version = Info().version;
  done(opened);
}

void FakeHandle::Close(const std::string&, uint64_t, std::function<void(absl::Status)> done) {
  done(absl::OkStatus());
}

void FakeHandle::Heartbeat(const std::string&, uint64_t, const WorkerHealth&, Done<HeartbeatAnswer> done) {
  done(HeartbeatAnswer{.version = Info().version});
}

void FakeHandle::Evict(const std::string& client_id, std::function<void(absl::Status)> done) {
  done(Error(StatusCode::kNotFound, "NO_SESSION", "no session of " + client_id));
}

void FakeHandle::Sessions(Done<std::vector<SessionInfo>> done) {
  done(std::vector<SessionInfo>{{.client_id = "worker-0", .epoch = 1}});
}

void FakeHandle::GiveUpload(const Done<UploadStart>& done) {
  UploadStart start;
  {
    MutexLock lock(&mu_);
    start.duplicate = duplicate_;
  }
  if (start.duplicate) return done(start);
  done(UploadStart{.upload = std::make_shared<FakeUpload>(shared_from_this())});
}

std::unique_ptr<Cancel> FakeHandle::StartUpload(UploadRequest request, Done<UploadStart> done) {
  uint64_t id = 0;
  absl::Status status;
  {
    MutexLock lock(&mu_);
    requests_.push_back(std::move(request));
    status = start_status_;
    if (status.ok() && hold_starts_) {
      id = next_id_++;
      starts_.push_back({id, std::move(done)});
    }
    Changed();
  }
  if (id != 0) {
    return std::make_unique<FakeCancel>([this, id] {
      MutexLock lock(&mu_);
      std::erase_if(starts_, [id](const Start& start) { return start.id == id; });
      Changed();
    });
  }
  status.ok() ? GiveUpload(done) : done(status);
  return std::make_unique<FakeCancel>([] {});
}

std::shared_ptr<FakeHandle::FakePin> FakeHandle::PinLocked() {
  auto pin = std::make_shared<FakePin>(shared_from_this(), version_, weights_);
  pins_.push_back(pin);
  ++live_pins_;
  Changed();
  return pin;
}

std::shared_ptr<PinnedVersion> FakeHandle::Pin() {
  MutexLock lock(&mu_);
  return PinLocked();
}

absl::StatusOr<std::unique_ptr<PullReader>> FakeHandle::Read(std::shared_ptr<PinnedVersion> pin,
                                                             const PullSpec& spec) {
  return std::make_unique<FakeReader>(std::static_pointer_cast<FakePin>(pin), spec.chunk_bytes);
}

std::unique_ptr<Cancel> FakeHandle::WaitNewer(Version after, std::optional<uint64_t>,
                                              Done<std::shared_ptr<PinnedVersion>> done,
                                              std::optional<uint32_t>) {
  std::shared_ptr<PinnedVersion> pin;
  uint64_t id = 0;
  {
    MutexLock lock(&mu_);
    if (version_->version > after) {
      pin = PinLocked();
    } else {
      id = next_id_++;
      waits_.push_back({id, after, done});
    }
    Changed();
  }
  if (pin != nullptr) done(pin);
  return std::make_unique<FakeCancel>([this, id] {
    MutexLock lock(&mu_);
    std::erase_if(waits_, [id](const Wait& wait) { return wait.id == id; });
    Changed();
  });
}

std::string FakeHandle::WaitingFor() const {
  MutexLock lock(&mu_);
  return waiting_for_;
}

uint64_t FakeHandle::DurableSequence(const std::string&) const { return 0; }

void FakeHandle::Update(std::vector<std::pair<std::string, double>>, uint64_t, Done<ModelInfo> done) {
  done(Info());
}

ModelInfo FakeHandle::Info() const {
  MutexLock lock(&mu_);
  return {.version = version_};
}

void FakeHandle::StateHash(Done<std::string> done) { done(std::string("fake")); }

void FakeHandle::SaveSnapshot(const std::string& label, Done<SnapshotInfo> done) {
  done(SnapshotInfo{.generation = 1, .label = label, .version = version()});
}

void FakeHandle::ListSnapshots(Done<std::vector<SnapshotInfo>> done) { done(std::vector<SnapshotInfo>()); }

void FakeHandle::RestoreSnapshot(const std::string& label, uint64_t, Done<ModelInfo> done) {
  done(Error(StatusCode::kNotFound, "SNAPSHOT_NOT_FOUND", "no snapshot " + label));
}

void FakeHandle::Import(Payload dense, Done<ModelInfo> done) {
  std::vector<float> weights(dense.size() / sizeof(float));
  std::byte* to = reinterpret_cast<std::byte*>(weights.data());
  for (const kernels::ByteSpan& span : dense.view().spans()) to = std::copy_n(span.data, span.size, to);
  Publish(std::move(weights));
  done(Info());
}

void FakeHandle::Flush(Done<Version> done) { done(version()); }

void FakeHandle::ReportMetrics(Version, const std::vector<std::pair<std::string, double>>&) {}

absl::StatusOr<std::unique_ptr<CreateUpload>> FakeEngine::StartCreate(ModelSpec spec, bool, int, uint64_t) {
  return Error(StatusCode::kAlreadyExists, "MODEL_EXISTS",
               "this engine has its one model already, not " + spec.name);
}

absl::StatusOr<std::shared_ptr<Handle>> FakeEngine::Find(const std::string& name) {
  if (name == model_->name()) return std::shared_ptr<Handle>(model_);
  return Error(StatusCode::kNotFound, "MODEL_NOT_FOUND", "model '" + name + "' does not exist");
}

void FakeEngine::Delete(const std::string& name, std::function<void(absl::Status)> done) {
  done(Find(name).status());
}

void FakeEngine::Drain(std::function<void(absl::Status)> done) {
  draining_ = true;
  done(absl::OkStatus());
}

}  // namespace stepback
