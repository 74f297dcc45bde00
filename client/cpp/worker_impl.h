// The worker's logic: pushes are sent until they are decided, whatever happens to connection and server.
//
// A data call holds call_mu_ from beginning to end, and what is guarded by it. PushAsync only puts its push into the
// window, whose threads send it; calls that push themselves wait until the window is empty. The heartbeat thread
// gets back into the session after a restart while the trainer computes, if no call is under way. What other threads
// may read lives in Session, in the window and under stats_mu_.
#pragma once

#include <memory>
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
#include "client/cpp/push_window.h"
#include "client/cpp/residual.h"
#include "client/cpp/retry.h"
#include "client/cpp/session.h"
#include "server/base/mutex.h"
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
  absl::StatusOr<PushFuture> PushAsync(std::span<const TensorData> data, const PushOptions& options);
  absl::Status Close();
  void Cancel() {
    interrupt_.Cancel();
    window_.Cancel();
  }
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
  absl::Status CheckTakesWeights() const REQUIRES(call_mu_);
  static absl::Status CheckDifference(const JoinOptions& options, const Setup& setup);
  static absl::Status CheckInFlight(const JoinOptions& options, const Setup& setup);
  PushWindow::Hooks WindowHooks();
  static absl::StatusOr<std::vector<std::vector<bool>>> FragmentTensors(const ModelImpl& model,
                                                                        const JoinOptions& options);
  static absl::Status CheckFeedback(const ModelImpl& model, const JoinOptions& options);
  static absl::StatusOr<std::vector<ElementRange>> RankRanges(const ModelImpl& model,
                                                              const JoinOptions& options,
                                                              const kernels::CodecInfo& codec);

  // worker_impl.cc
  absl::Status CheckOpen() const REQUIRES(call_mu_);
  absl::StatusOr<PullInfo> PullUntilDone(v1::PullRequest request, PullTarget* target, Retry* retry)
      REQUIRES(call_mu_);
  // `base`: kept up to date by the pull; null: left alone. `held`: differences are asked for.
  absl::StatusOr<PayloadLayout> PullLayout(std::span<const TensorSink> sinks, const std::string& codec,
                                           const BaseWeights* base, const HeldWeights* held,
                                           std::optional<uint32_t> fragment,
                                           v1::PullRequest* request);
  v1::PullRequest NewPullRequest(const std::string& view) const;
  absl::Status OnPulled(const Download& download, PullTarget* target, const v1::PullRequest& request)
      REQUIRES(call_mu_);

  // worker_push.cc
  absl::Status CheckPush(v1::PushKind kind, std::optional<uint32_t> fragment) const REQUIRES(call_mu_);
  v1::PushKind KindOf(v1::PushKind kind) const;
  absl::StatusOr<std::vector<bool>> PresentTensors(std::span<const TensorData> data,
                                                   const PushOptions& options) const;
  std::vector<bool> Within(std::vector<bool> present, std::optional<uint32_t> fragment) const;
  v1::PushHeader NewPushHeader(v1::PushKind kind, const PushOptions& options, const PayloadLayout& layout,
                               const std::vector<bool>& present) const REQUIRES(call_mu_);
  // `lent` is held by payloads that point into the caller's memory; `keep`: none does once the source is complete.
  absl::StatusOr<PushJob> MakeJob(v1::PushKind kind, std::span<const TensorData> data,
                                  const PushOptions& options, std::shared_ptr<const void> lent, bool keep,
                                  PayloadLayout* layout) REQUIRES(call_mu_);
  absl::StatusOr<v1::PushResponse> PushUntilDecided(PushJob* job, Retry* retry);
  absl::Status BeginFeedback(const PushOptions& options) REQUIRES(call_mu_);
  void Decided(const v1::PushResponse& response);
  void Accepted(const v1::PushResponse& response, const PayloadLayout& pushed) REQUIRES(call_mu_);
  PushResult Resynced(const absl::Status& why, uint64_t sequence);
  void ResetFeedback(const PayloadLayout& pushed) REQUIRES(call_mu_);

  // worker_step.cc
  absl::Status StepUntilDecided(StepState* state, PushJob* job, Retry* retry) REQUIRES(call_mu_);
  absl::Status PullRest(StepState* state, Retry* retry) REQUIRES(call_mu_);
  bool IsLost(const StepState& state) const;
  absl::Status ResyncStep(StepState* state, const absl::Status& why, Retry* retry) REQUIRES(call_mu_);

  // worker_recovery.cc
  absl::Status BeforeAttempt(PushJob* job, Interrupt* interrupt);
  absl::Status Broke(const absl::Status& failure);
  absl::Status CheckTerm(Version pulled) const;
  absl::Status Recover(const PushWindow::Recovery& pushes, Interrupt* interrupt);
  bool LeavesGap(const PushWindow::Recovery& pushes) const;
  void Number(const std::vector<PushJob*>& undecided) const;
  absl::Status Replay(PushJob* job, Interrupt* interrupt);
  void Address(PushJob* job) const;
  absl::StatusOr<v1::PushResponse> SendOnce(PushJob* job, std::chrono::nanoseconds timeout, Interrupt* interrupt);
  bool IsDecided(uint64_t sequence) const;
  absl::Status MakeRoom(uint64_t bytes, Retry* retry);
  absl::Status SaveOnce(Interrupt* interrupt);
  absl::Status OnSaved(const absl::Status& saved, Interrupt* interrupt);
  // Lets go of what is on the server's disk.
  absl::Status LearnDurable(Interrupt* interrupt);
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

  PushWindow window_;  // keeps no more pushes when the server turns out to have no disk

  Mutex call_mu_;
  bool closed_ GUARDED_BY(call_mu_) = false;
  BaseWeights base_ GUARDED_BY(call_mu_);
  std::unique_ptr<HeldWeights> held_ GUARDED_BY(call_mu_);   // null: no differences
  std::unique_ptr<Residual> residual_ GUARDED_BY(call_mu_);  // null: no error feedback
  uint64_t next_job_id_ GUARDED_BY(call_mu_) = 1;

  mutable Mutex stats_mu_;
  Statistics stats_ GUARDED_BY(stats_mu_);
  Version base_version_ GUARDED_BY(stats_mu_);
};

}  // namespace stepback::client
