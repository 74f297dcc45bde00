// The inside of Model: the parts and how a call moves through them. Private to server/core/model*.cc.
//
// Every call that may decide something goes the same way:
//   Begin      what earlier calls could not report (the outbox) opens the effects
//   ...        the call's own business: a push arrives, a session ends, time passes
//   Settle     decides every push whose turn has come, then the round; again until nothing moves
#pragma once

#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "server/core/admit.h"
#include "server/core/checked_push.h"
#include "server/core/client_log.h"
#include "server/core/grace_window.h"
#include "server/core/loss_scaler.h"
#include "server/core/merge_record.h"
#include "server/core/model.h"
#include "server/core/model_state.h"
#include "server/core/open_state.h"
#include "server/core/round.h"
#include "server/core/round_policy.h"
#include "server/core/session_table.h"

namespace stepback {

struct Model::Impl {
  Impl(std::unique_ptr<ModelState> model_state, Environment env);

  // --- a call (model.cc) ---
  Effects Begin(TimePoint now, const StepFailures& recorded = {});
  void Settle(TimePoint now, Effects* effects);

  // --- sessions (model_sessions.cc) ---
  absl::StatusOr<OpenedSession> Attach(const OpenSession& request, TimePoint now);
  absl::StatusOr<OpenedSession> Start(const OpenSession& request, TimePoint now);
  void EndSession(const std::string& id, SessionEnd how, Effects* effects);
  // A push of the client was not finite: too many in a row end its session.
  void CountNonfinite(const PushHeader& header, TimePoint now, Effects* effects);
  // FAILED_PRECONDITION(QUARANTINED) while the client may open no session.
  absl::Status CheckQuarantine(const std::string& id, TimePoint now) const;
  Duration QuarantineLeft(const std::string& id, TimePoint now) const;
  void EndLapsed(const std::vector<std::string>& lapsed, TimePoint now, Effects* effects);
  void EndAllSessions(Effects* effects);
  void RefuseHeld(std::vector<HeldPush> held, Effects* effects);

  // --- pushes (model_push.cc) ---
  void Receive(Push push, TimePoint now, Effects* effects);
  absl::Status CheckSender(const PushHeader& header, TimePoint now);
  // Decides the client's pushes for as long as it is their turn.
  void DecideHeads(const std::string& id, TimePoint now, Effects* effects);
  Admission AdmitHead(const HeldPush& head, TimePoint now) const;
  AdmitState AdmitStateOf(const PushHeader& header) const;
  void Decide(HeldPush head, const Admission& admission, TimePoint now, Effects* effects);
  void Skip(const PushHeader& header, const Admission& admission, TimePoint now, Effects* effects);
  void Contribute(CheckedPush push, uint64_t staleness, TimePoint now, Effects* effects);
  // Memory for the push and, if it closes the round, for the next version.
  absl::StatusOr<NextArrays> Reserve(const Round& round, bool stage, bool close);
  absl::Status Join(CheckedPush push, double clip, uint64_t staleness, bool stage, TimePoint now);
  void CloseWith(const PushHeader& header, PushAnswer answer, const std::string& reason, NextArrays next,
                 TimePoint now, Effects* effects);
  // Its round found no memory for the commit.
  void PutOff(const PushHeader& header, PushAnswer answer, const absl::Status& why, TimePoint now,
              Effects* effects);

  // --- answers (model_push.cc) ---
  PushAnswer AnswerFor(const PushHeader& header, const ModelVersion& at) const;
  PushAnswer Duplicate(const PushHeader& header) const;
  // Decided: consumes the number.
  void Remember(const PushHeader& header, PushAnswer answer, Effects* effects);
  void Refuse(const PushHeader& header, absl::Status status, Effects* effects);
  Effects::Event PushRefused(const PushHeader& header, const absl::Status& status) const;
  Effects::Event PushSkipped(const PushHeader& header, const std::string& reason) const;

  // The H that a worker is told at `at`; 0: its own choice, or gradient mode. With the words for it when it
  // is dynamic.
  uint32_t LocalStepsOf(const std::string& id, uint64_t outer_steps, const ModelVersion& at) const;
  std::string PaceOf(const std::string& id, uint32_t local_steps) const;

  // --- rounds (model_rounds.cc) ---
  RoundProgress Progress(uint32_t number) const;
  RoundProgress ProgressWith(const PushHeader& header, TimePoint now) const;
  // Closes the rounds that are complete. True: one has ended.
  bool EvaluateRounds(TimePoint now, Effects* effects);
  bool EvaluateRound(uint32_t number, TimePoint now, Effects* effects);
  void RetryLater(uint32_t number, const absl::Status& why, TimePoint now, Effects* effects);
  // The version that the round makes. On failure the round is dropped; or it is as it was and still open,
  // where memory was all that lacked.
  absl::StatusOr<std::shared_ptr<ModelVersion>> CommitRound(uint32_t number, NextArrays next,
                                                            Effects* effects);
  void Publish(uint32_t number, std::shared_ptr<ModelVersion> version, const std::string& reason,
               Effects* effects);
  // What the version that ends this round remembers of the clients: pushes in other open rounds are not in
  // it.
  std::shared_ptr<const ClientTable> ClientsWithout(uint32_t number) const;
  void DropRound(uint32_t number, const absl::Status& why, Effects* effects);
  void EndRound(uint32_t number, Effects* effects);
  // The weights are replaced: what the open rounds hold has no effect.
  void EndAllRounds(const std::string& why, Effects* effects);
  // `made` is null when it ended without effect.
  std::shared_ptr<const MergeRecord> RecordRound(uint32_t number, const ModelVersion* made) const;
  Effects::Event RoundClosed(uint32_t number, const ModelVersion& version, const std::string& reason) const;
  std::string WaitingFor(uint32_t number) const;
  bool AnyOpen() const;

  // --- the open state (model_open_state.cc) ---
  absl::Status Reopen(const OpenState& open, const FetchPush& fetch);
  absl::Status ReopenRound(uint32_t number, const OpenState::OpenRound& open, const FetchPush& fetch);
  absl::Status Rejoin(uint32_t number, const OpenState::Member& member, const FetchPush& fetch);
  absl::Status ReopenSession(const std::string& id, const OpenState::Client& client, const FetchPush& fetch);
  absl::StatusOr<CheckedPush> Fetch(const PushRef& ref, const FetchPush& fetch) const;

  TimePoint BaseWaitEnd(const HeldPush& head) const;
  Duration lease() const;
  const ModelSpec& spec() const { return state->spec(); }
  const Version& version() const { return state->current()->version; }

  Environment environment;
  std::unique_ptr<ModelState> state;
  SessionTable sessions;
  ClientLog log;
  // One, or one per fragment.
  struct OpenRound {
    Round round;
    GraceWindow grace;
    std::optional<TimePoint> retry_at;  // a close that had no memory
  };
  std::vector<OpenRound> rounds;
  LossScaler scaler;
  uint64_t oldest_base = 0;     // counter of the last import or restore
  Effects outbox;               // decided in calls that return no effects
  std::set<std::string> ready;  // clients whose next push may have its turn
  bool reevaluate = false;      // membership changed: rounds may close
  TimePoint last_now;           // latest of the calls that decide
};

}  // namespace stepback
