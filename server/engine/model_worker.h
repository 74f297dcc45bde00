// One model at work: its strand is the only thread that touches the core's Model; everything else of it
// (intake, published versions, waiters, snapshots) is safe to use from anywhere and is told by the strand
// what happened. This is the engine's Handle.
//
//   caller --command--> strand: model->Apply/Tick/... --Effects--> publish, answer, wake, log, count
//
// In durability PUSH every command that decides something goes through the journal first, and reaches the
// strand when it is durable.
//
// Owned by the registry, held by every call in progress. Every callback is called exactly once, also when the
// model is deleted or the engine stops.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "server/core/model.h"
#include "server/engine/engine.h"
#include "server/engine/event_log.h"
#include "server/engine/intake.h"
#include "server/engine/journal.h"
#include "server/engine/model_log.h"
#include "server/engine/model_report.h"
#include "server/engine/published.h"
#include "server/engine/runtime.h"
#include "server/engine/save_wishes.h"
#include "server/engine/snapshotter.h"
#include "server/engine/strand.h"
#include "server/engine/version_waiters.h"

namespace stepback {

inline constexpr size_t kCommandsMax = 8192;  // that wait for the strand, and as many for the log

class ModelWorker final : public Handle, public std::enable_shared_from_this<ModelWorker> {
 public:
  struct Parts {
    std::shared_ptr<Runtime> runtime;
    std::unique_ptr<Model> model;
    std::unique_ptr<ModelStore> store;  // null without a data directory
    uint64_t budget_bytes = 0;
    int64_t created_wall_nanos = 0;
    std::optional<SnapshotInfo> saved;  // the model is on disk as it is (recovery)
    std::optional<ModelLog> log;        // durability PUSH
    uint64_t saved_log_position = 0;    // with `saved` and `log`: then `saved` may be an older version
    uint64_t saved_settings_version = 0;
  };
  static std::shared_ptr<ModelWorker> Make(Parts parts);
  ~ModelWorker() override;

  const std::string& name() const override { return name_; }
  std::shared_ptr<const Layout> layout() const override { return layout_; }

  void Open(const OpenSession& request, Done<SessionOpened> done) override;
  void Close(const std::string& client_id, uint64_t epoch, std::function<void(absl::Status)> done) override;
  void Heartbeat(const std::string& client_id, uint64_t epoch, const WorkerHealth& health,
                 Done<HeartbeatAnswer> done) override;
  void Evict(const std::string& client_id, std::function<void(absl::Status)> done) override;
  void Sessions(Done<std::vector<SessionInfo>> done) override;

  std::unique_ptr<Cancel> StartUpload(UploadRequest request, Done<UploadStart> done) override;
  std::shared_ptr<PinnedVersion> Pin() override { return published_->PinNewest(); }
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

  // For the engine.
  // The newest version with its settings.
  std::shared_ptr<const ModelVersion> newest() const { return LiveVersion::Share(published_->newest()); }
  // Writes the published version unless it is on disk (or nothing is to be kept); `done` once.
  void SaveIfNeeded(std::function<void(absl::Status)> done);
  // Refuses sessions and pushes, ends waits, applies what is queued, then SaveIfNeeded.
  void Drain(std::function<void(absl::Status)> done);
  // Ends every call, present and future, with `why`; lets go of the model's directory.
  void Retire(const absl::Status& why);
  // After Retire: deletes the model's directory.
  void Remove(std::function<void(absl::Status)> done);
  uint64_t budget_bytes() const { return budget_bytes_; }
  // With what is kept for readers by differences.
  uint64_t state_bytes() const { return state_bytes_ + published_->differences().held_bytes(); }
  // State and staging budget.
  uint64_t memory_bytes() const { return state_bytes() + budget_bytes_; }

 private:
  struct FlushWaiter {
    std::optional<Version> target;  // nullopt: when these rounds have ended
    std::set<uint32_t> rounds;
    Done<Version> done;
  };
  struct Client {
    uint64_t epoch = 0;
    WorkerHealth health;
  };

  ModelWorker(Parts parts, std::shared_ptr<Journal> journal);
  void Start(bool recovered);
  void StartJournal();
  // The sessions that a recovery found open.
  void TakeUpSessions();
  void AddTimers();
  void StartIntake(const ModelVersion& current);
  void StartSnapshotter();
  Intake::Hooks IntakeHooks();

  // Runs `run` on the strand, then settles and answers. QUEUE_FULL and the end of the model come through
  // `done` too.
  template <typename T>
  void Command(Done<T> done, std::function<absl::StatusOr<T>()> run);
  // As Command, for a call that decides something: logged first, where the model has a log. `now` is its
  // time.
  template <typename T>
  void Decide(LoggedCall::Call call, Done<T> done, std::function<absl::StatusOr<T>(TimePoint now)> run);
  // Only with a journal: `decide` on the strand once the call is in the log, then settles; or `refuse`.
  void DecideLogged(LoggedCall::Call call, Journal::Bytes bytes, Journal::Apply decide,
                    Journal::Refuse refuse);
  // As Command, for work that is bounded elsewhere; `abandon` instead of `run` when the model has ended.
  void Post(Task run, std::function<void(const absl::Status&)> abandon);
  // The same without settling.
  void PostBare(Task run, std::function<void(const absl::Status&)> abandon);
  // As Post, behind everything that is on its way through the log.
  void PostBehindLog(Task run, std::function<void(const absl::Status&)> abandon);
  absl::Status CheckOpen() const;
  static absl::Status Draining();
  absl::Status Named(const absl::Status& status) const;
  TimePoint Now() const { return runtime_->clock()->Now(); }

  void Submit(Push push, std::vector<ChunkSum> sums);
  // PushHeader.save_soon, once the push is let in.
  void WishSave(const std::string& client_id, uint64_t sequence);

  // On the strand.
  void Apply(Push push, TimePoint now);
  void Tick();
  void LogTick(TimePoint now);
  // Sessions that a call at `now` ends: in a model with a log only those that the call names.
  std::vector<std::string> LapsedNow(TimePoint now) const;
  absl::StatusOr<SessionOpened> OpenNow(const OpenSession& request, TimePoint now);
  SessionOpened SessionOpenedAs(const std::string& client_id, const OpenedSession& opened) const;
  absl::Status CloseNow(const std::string& client_id, uint64_t epoch, TimePoint now);
  absl::Status HeartbeatNow(const std::string& client_id, uint64_t epoch, const WorkerHealth& health);
  // To everyone; in a model with a log not before it is durable what of it depended on the machine.
  void Distribute(const Effects& effects, ModelReport::Cause cause, TimePoint began);
  void DistributeNow(const Effects& effects, ModelReport::Cause cause, TimePoint began);
  // A call in the log that changed nothing because the machine failed: a replay must know before anybody
  // does.
  void RecordRefused(Task answer, Journal::Refuse drop);
  void PublishCurrent();
  // Into the event log, if there is one.
  void Record(std::string name, std::string reason, std::vector<std::pair<std::string, std::string>> fields);
  void RecordSettings(const std::vector<std::pair<std::string, double>>& values);
  Intake::Contributors Contributed(TimePoint now) const;
  void EndSession(const std::string& client_id, telemetry::SessionEnd how);
  // What readers see besides the version; before any answer, so that nobody hears of a change and does not
  // find it.
  void ShowState();
  // What every command leaves behind: state for readers, timers, metrics.
  void Settle();

  // Durability, on the strand (model_worker_durability.cc).
  bool SavesByItself() const;
  Duration SnapshotInterval() const;
  void PlanSnapshot();
  void StartSnapshot();
  void OnSaved(const absl::StatusOr<SnapshotInfo>& saved);
  void FlushNow(Done<Version> done);
  void SettleFlushes(const Effects& effects);
  void SaveForFlush();
  void CompleteFlushes(const absl::StatusOr<SnapshotInfo>& saved);
  void FailFlushes(const absl::Status& why, bool all);
  void OnDurable();
  void OnStorageFailed(const absl::Status& why);
  void OnReadOnly(const absl::Status& refusal);
  absl::StatusOr<Snapshotter::Moment> TakeMoment();
  void LogRestore(const LoadedImage& image, uint64_t term, Done<ModelInfo> done);
  void RestoreNow(const LoadedImage& image, uint64_t term, Done<ModelInfo> done);
  void LogImport(Payload dense, std::unique_ptr<kernels::Buffer> weights, Done<ModelInfo> done);
  void ImportNow(std::unique_ptr<kernels::Buffer> weights, Done<ModelInfo> done);
  // The answer to a call that failed; if it could have gone well elsewhere, once that is durable.
  void AnswerFailed(const LoggedCall::Call& call, const absl::Status& why, const Done<ModelInfo>& done);
  void AnswerWhenSaved(Done<ModelInfo> done);

  const std::shared_ptr<Runtime> runtime_;  // first: the last to go
  const std::string name_;
  const std::shared_ptr<const Layout> layout_;
  const uint64_t budget_bytes_;
  const int64_t created_wall_nanos_;
  const std::shared_ptr<telemetry::ModelMetrics> metrics_;
  const std::shared_ptr<Strand> strand_;
  const std::shared_ptr<Published> published_;
  const std::shared_ptr<VersionWaiters> waiters_;
  const std::shared_ptr<Snapshotter> snapshotter_;
  const std::shared_ptr<EventLog> events_;  // null: none is kept
  const std::shared_ptr<Journal> journal_;  // null without a log
  std::shared_ptr<Intake> intake_;          // set once by Start
  TimerQueue::Id tick_timer_ = 0;
  TimerQueue::Id intake_timer_ = 0;
  std::atomic<bool> tick_posted_{false};
  std::atomic<bool> draining_{false};
  std::atomic<uint64_t> state_bytes_{0};
  std::atomic<uint32_t> sessions_{0};

  // Only on the strand.
  const std::unique_ptr<Model> model_;
  ModelReport report_;
  std::shared_ptr<const ModelVersion> current_;  // as published
  std::map<std::string, Client> clients_;        // with a session
  std::vector<FlushWaiter> flushes_;
  SaveWishes save_wishes_;
  TimePoint snapshot_began_;
  std::optional<TimePoint> snapshot_due_;
  bool snapshot_running_ = false;
  bool tick_logged_ = false;  // one is on its way through the log
  TimePoint tick_retry_at_;   // after one that could not be logged

  mutable Mutex mu_;
  absl::Status ended_ GUARDED_BY(mu_);
  std::string waiting_for_ GUARDED_BY(mu_);
  std::string unhealthy_reason_ GUARDED_BY(mu_);
};

}  // namespace stepback
