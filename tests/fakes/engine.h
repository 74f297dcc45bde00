// An engine with one model that does what a test tells it: it holds answers back, refuses, revokes versions,
// and counts what it was given. No arithmetic; a version is a vector of floats.
//
// Thread: any. Tests wait with Eventually, which wakes on every change; nothing sleeps.
//
//   FakeEngine engine(FakeSpec("m", 1024));
//   engine.model().HoldStarts();
//   ... a Push arrives ...
//   engine.model().Eventually([&] { return engine.model().held_starts() == 1; });
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "server/base/mutex.h"
#include "server/engine/engine.h"

namespace stepback {

// One TRAINED f32 tensor "w" of `elements`.
ModelSpec FakeSpec(const std::string& name, uint64_t elements);

class FakeHandle final : public Handle, public std::enable_shared_from_this<FakeHandle> {
 public:
  explicit FakeHandle(const ModelSpec& spec);

  // What a test sets.
  void HoldStarts(bool hold = true);
  void ReleaseStarts();  // gives the held ones their uploads
  void RefuseStarts(absl::Status status);
  void RefuseChunks(absl::Status status);
  void AnswerWith(PushAnswer answer);      // to every Finish
  void AnswerDuplicate(PushAnswer first);  // to every StartUpload
  void HoldAnswers(bool hold = true);
  void Publish(std::vector<float> weights);  // next counter; wakes waiters
  void RevokeAll();
  void EndWaits(absl::Status status);
  void SetWaitingFor(std::string reason);

  // What a test sees.
  bool Eventually(const std::function<bool()>& condition);  // false after 20 seconds
  size_t held_starts() const;
  size_t held_answers() const;
  size_t live_uploads() const;
  size_t chunks() const;
  size_t waits() const;
  size_t live_pins() const;
  uint64_t received_bytes() const;
  std::vector<UploadRequest> requests() const;
  std::string received() const;  // payload bytes of all uploads, in order of arrival
  Version version() const;

  const std::string& name() const override { return spec_->name; }
  std::shared_ptr<const Layout> layout() const override { return layout_; }
  void Open(const OpenSession& request, Done<SessionOpened> done) override;
  void Close(const std::string& client_id, uint64_t epoch, std::function<void(absl::Status)> done) override;
  void Heartbeat(const std::string& client_id, uint64_t epoch, const WorkerHealth& health,
                 Done<HeartbeatAnswer> done) override;
  void Evict(const std::string& client_id, std::function<void(absl::Status)> done) override;
  void Sessions(Done<std::vector<SessionInfo>> done) override;
  std::unique_ptr<Cancel> StartUpload(UploadRequest request, Done<UploadStart> done) override;
  std::shared_ptr<PinnedVersion> Pin() override;
  absl::StatusOr<std::unique_ptr<PullReader>> Read(std::shared_ptr<PinnedVersion> pin,
                                                   const PullSpec& spec) override;
  std::unique_ptr<Cancel> WaitNewer(Version after, std::optional<uint64_t> rounds_dropped,
                                    Done<std::shared_ptr<PinnedVersion>> done,
                                    std::optional<uint32_t> fragment) override;
  std::string WaitingFor() const override;
  uint64_t DurableSequence(const std::string& client_id) const override;
  void Update(std::vector<std::pair<std::string, double>> values, uint64_t expected_settings_version,
              Done<ModelInfo> done) override;
  ModelInfo Info() const override;
  void StateHash(Done<std::string> done) override;
  void SaveSnapshot(const std::string& label, Done<SnapshotInfo> done) override;
  void ListSnapshots(Done<std::vector<SnapshotInfo>> done) override;
  void RestoreSnapshot(const std::string& label, uint64_t generation, Done<ModelInfo> done) override;
  void Import(Payload dense, Done<ModelInfo> done) override;
  void Flush(Done<Version> done) override;
  void ReportMetrics(Version version, const std::vector<std::pair<std::string, double>>& values) override;

 private:
  class FakeUpload;
  class FakePin;
  class FakeReader;
  class FakeCancel;
  struct Start {
    uint64_t id;
    Done<UploadStart> done;
  };
  struct Wait {
    uint64_t id;
    Version after;
    Done<std::shared_ptr<PinnedVersion>> done;
  };

  void Changed() { changed_.NotifyAll(); }
  std::shared_ptr<FakePin> PinLocked() REQUIRES(mu_);
  void GiveUpload(const Done<UploadStart>& done);

  const std::shared_ptr<const ModelSpec> spec_;
  const std::shared_ptr<const Layout> layout_;
  mutable Mutex mu_;
  CondVar changed_;
  bool hold_starts_ GUARDED_BY(mu_) = false;
  bool hold_answers_ GUARDED_BY(mu_) = false;
  absl::Status start_status_ GUARDED_BY(mu_);
  absl::Status chunk_status_ GUARDED_BY(mu_);
  PushAnswer answer_ GUARDED_BY(mu_);
  std::optional<PushAnswer> duplicate_ GUARDED_BY(mu_);
  std::string waiting_for_ GUARDED_BY(mu_);
  std::deque<Start> starts_ GUARDED_BY(mu_);
  std::deque<Wait> waits_ GUARDED_BY(mu_);
  std::vector<Done<PushAnswer>> answers_ GUARDED_BY(mu_);
  std::vector<std::weak_ptr<FakePin>> pins_ GUARDED_BY(mu_);
  std::vector<UploadRequest> requests_ GUARDED_BY(mu_);
  std::string received_ GUARDED_BY(mu_);
  std::shared_ptr<const ModelVersion> version_ GUARDED_BY(mu_);
  std::shared_ptr<const std::vector<float>> weights_ GUARDED_BY(mu_);
  size_t live_uploads_ GUARDED_BY(mu_) = 0;
  size_t live_pins_ GUARDED_BY(mu_) = 0;
  size_t chunks_ GUARDED_BY(mu_) = 0;
  uint64_t next_id_ GUARDED_BY(mu_) = 1;
};

class FakeEngine final : public Engine {
 public:
  explicit FakeEngine(const ModelSpec& spec) : model_(std::make_shared<FakeHandle>(spec)) {}

  FakeHandle& model() { return *model_; }

  absl::StatusOr<std::unique_ptr<CreateUpload>> StartCreate(ModelSpec spec, bool zeros, int codec,
                                                            uint64_t total_bytes) override;
  absl::StatusOr<std::shared_ptr<Handle>> Find(const std::string& name) override;
  std::vector<std::shared_ptr<Handle>> List() override { return {model_}; }
  void Delete(const std::string& name, std::function<void(absl::Status)> done) override;
  void Drain(std::function<void(absl::Status)> done) override;
  bool draining() const override { return draining_; }
  void Tick() override {}
  kernels::Backend* backend() override { return backend_.get(); }

 private:
  const std::shared_ptr<FakeHandle> model_;
  const std::unique_ptr<kernels::Backend> backend_ = kernels::MakeCpuBackend("generic");
  std::atomic<bool> draining_ = false;
};

}  // namespace stepback
