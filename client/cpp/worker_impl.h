// The worker's logic: one push at a time, sent until it is decided, whatever happens to connection and
// server.
//
// A data call holds call_mu_ from beginning to end; the heartbeat thread takes it only when it is free, to
// get back into the session after a restart while the trainer computes. Everything below call_mu_ belongs to
// its holder; what other threads may read lives in Session and under stats_mu_.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "client/cpp/base_weights.h"
#include "client/cpp/data_calls.h"
#include "client/cpp/heartbeat.h"
#include "client/cpp/held_weights.h"
#include "client/cpp/model_impl.h"
#include "client/cpp/pull_target.h"
#include "client/cpp/push_job.h"
#include "client/cpp/replay_log.h"
#include "client/cpp/residual.h"
#include "client/cpp/retry.h"
#include "client/cpp/session.h"
#include "stepback/worker.h"

namespace stepback::client {

class CallerMemory;

class WorkerImpl {
 public:
  static absl::StatusOr<std::unique_ptr<WorkerImpl>> Join(std::shared_ptr<const ModelImpl> model,
                                                          const std::string& client_id,
                                                          const JoinOptions& options);
  ~WorkerImpl();

  absl::StatusOr<PullInfo> Pull(std::span<const TensorSink> sinks, const PullOptions& options);
  absl::StatusOr<PushResult> Push(v1::PushKind kind, std::span<const TensorData> data,
                                  const PushOptions& options);
  absl::StatusOr<StepResult> Step(v1::PushKind kind, std::span<const TensorData> data,
                                  std::span<const TensorSink> sinks, const PushOptions& options);
  absl::Status Close();
  void Cancel() { interrupt_.Cancel(); }
  void ReportHealth(const Health& health) { heartbeat_.ReportHealth(health); }

  const std::string& client_id() const { return client_id_; }
  const Session& session() const { return session_; }
  const std::vector<ElementRange>& ranges() const { return setup_.ranges; }
  Version base_version() const;
  Statistics statistics() const;

 private:
  // What Join has checked and worked out.
  struct Setup {
    const kernels::CodecInfo* push_codec = nullptr;
    const kernels::CodecInfo* pull_codec = nullptr;
    std::vector<ElementRange> ranges;  // of this rank; empty: one rank, all elements
    uint64_t replay_bytes_max = 0;
    bool keeps_pushes = false;  // durability ROUND
    bool error_feedback = false;
    std::vector<std::vector<bool>> fragments;  // by fragment: its tensors
  };
  struct StepState;  // of one Step, across its attempts

  WorkerImpl(std::shared_ptr<const ModelImpl> model, const std::string& client_id, const JoinOptions& options,
             Setup setup);
  static absl::StatusOr<Setup> MakeSetup(const ModelImpl& model, const JoinOptions& options);
  absl::Status CheckTakesWeights() const;
  static absl::StatusOr<std::vector<std::vector<bool>>> FragmentTensors(const ModelImpl& model,
                                                                        const JoinOptions& options);
  static absl::Status CheckFeedback(const ModelImpl& model, const JoinOptions& options);
  static absl::StatusOr<std::vector<ElementRange>> RankRanges(const ModelImpl& model,
                                                              const JoinOptions& options,
                                                              const kernels::CodecInfo& codec);

  // worker_impl.cc
  absl::Status CheckOpen() const;
  absl::StatusOr<PullInfo> PullUntilDone(v1::PullRequest request, PullTarget* target, Retry* retry);
  // `base`: kept up to date by the pull; null: left alone. `held`: differences are asked for.
  absl::StatusOr<PayloadLayout> PullLayout(std::span<const TensorSink> sinks, const std::string& codec,
                                           const BaseWeights* base, const HeldWeights* held,
                                           std::optional<uint32_t> fragment,
                                           v1::PullRequest* request);
  v1::PullRequest NewPullRequest(const std::string& view) const;
  absl::Status OnPulled(const Download& download, PullTarget* target, const v1::PullRequest& request);

  // worker_push.cc
  absl::Status CheckPush(v1::PushKind kind, std::optional<uint32_t> fragment) const;
  v1::PushKind KindOf(v1::PushKind kind) const;
  absl::StatusOr<std::vector<bool>> PresentTensors(std::span<const TensorData> data,
                                                   const PushOptions& options) const;
  std::vector<bool> Within(std::vector<bool> present, std::optional<uint32_t> fragment) const;
  v1::PushHeader NewPushHeader(v1::PushKind kind, const PushOptions& options, const PayloadLayout& layout,
                               const std::vector<bool>& present) const;
  absl::StatusOr<PushJob> MakeJob(v1::PushKind kind, std::span<const TensorData> data,
                                  const PushOptions& options, const CallerMemory& lent,
                                  PayloadLayout* layout);
  absl::StatusOr<v1::PushResponse> PushUntilDecided(PushJob* job, Retry* retry);
  absl::Status BeginFeedback(const PushOptions& options);
  void Decided(const v1::PushResponse& response, const PayloadLayout& pushed);
  void Keep(PushJob job);
  PushResult Resynced(const absl::Status& why, uint64_t sequence, const PayloadLayout& pushed);

  // worker_step.cc
  absl::Status StepUntilDecided(StepState* state, PushJob* job, Retry* retry);
  absl::Status PullRest(StepState* state, Retry* retry);
  bool IsLost(const StepState& state) const;
  absl::Status ResyncStep(StepState* state, const absl::Status& why, Retry* retry);

  // worker_recovery.cc
  absl::Status BeforeAttempt(PushJob* job, Interrupt* interrupt);
  absl::Status Broke(const absl::Status& failure);
  absl::Status CheckTerm(Version pulled) const;
  absl::Status Recover(PushJob* current, Interrupt* interrupt);
  absl::Status Replay(PushJob* job, Interrupt* interrupt);
  void Address(PushJob* job) const;
  bool IsDecided(uint64_t sequence) const;
  void Note(const absl::Status& why);
  absl::Status MakeRoom(uint64_t bytes, Retry* retry);
  absl::Status SaveOnce(Interrupt* interrupt);
  absl::Status OnSaved(const absl::Status& saved, Interrupt* interrupt);
  absl::Status FlushOnce(Interrupt* interrupt, std::chrono::nanoseconds timeout = {});  // 0: none
  void OnHeartbeatTrouble(const absl::Status& trouble, Interrupt* interrupt);

  StreamOptions Streams(std::chrono::nanoseconds timeout = {}) const;
  std::optional<TimePoint> Deadline(std::chrono::nanoseconds timeout) const;
  void Count(const ByteCounts& bytes);
  template <typename Change>
  void Count(Change change) {
    MutexLock lock(&stats_mu_);
    change(&stats_);
  }

  const std::shared_ptr<const ModelImpl> model_;
  const std::string client_id_;
  const JoinOptions options_;
  const Setup setup_;
  const std::shared_ptr<Transport> data_;
  Interrupt interrupt_;
  Session session_;
  Heartbeat heartbeat_;

  std::mutex call_mu_;
  bool closed_ = false;
  std::optional<absl::Status> broken_;  // why the session must be joined again before the next attempt
  bool keeps_pushes_;                   // turns false when the server turns out to have no disk
  BaseWeights base_;
  std::unique_ptr<HeldWeights> held_;   // null: no differences
  std::unique_ptr<Residual> residual_;  // null: no error feedback
  ReplayLog replay_;
  uint64_t next_job_id_ = 1;
  uint64_t newest_lost_id_ = 0;  // of the newest push that could not be brought back

  mutable Mutex stats_mu_;
  Statistics stats_ GUARDED_BY(stats_mu_);
  Version base_version_ GUARDED_BY(stats_mu_);
};

}  // namespace stepback::client
