// A worker's lease on a model as the server sees it: epoch, sequence numbers, settings, and how to get back
// in after a broken connection, an ended lease or a server restart.
//
// Getting back in never steals: the session is first joined as it is (attach). Only when the server has none
// is a new one opened; when it has a newer one of this client id, another process has taken over and this one
// is fenced.
//
// Threads: any; the calls of one worker and its heartbeat share it.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/cpp/transport.h"
#include "server/base/mutex.h"
#include "stepback/info.h"
#include "stepback/options.h"
#include "stepback/results.h"
#include "stepback/v1/training.pb.h"

namespace stepback::client {

// NO_SESSION, SESSION_EXPIRED, FENCED, ROLLED_BACK: the session is gone, the connection is not.
bool IsSessionLoss(const absl::Status& status);
// STALE_BASE, RESYNC, ROUND_DROPPED, ROLLED_BACK: the push is not merged and never will be; pull and go on.
bool IsResync(const absl::Status& status);

class Session {
 public:
  struct Options {
    std::string model;
    std::string client_id;
    std::string fingerprint;
    SessionRole role = SessionRole::kTrainer;
    bool attach_only = false;  // ranks above 0
    std::chrono::nanoseconds call_timeout{0};
  };
  Session(Options options, std::shared_ptr<Transport> control);

  // One attempt to open a new session (ranks above 0: to attach; UNAVAILABLE while there is none).
  absl::Status Open(Interrupt* interrupt);
  // One attempt to get back in after `cause`. FAILED_PRECONDITION (FENCED) when another process has taken
  // over or an operator has evicted this worker.
  absl::Status Rejoin(const absl::Status& cause, Interrupt* interrupt);
  // A new session in place of the one that was just joined: the server lets go of pushes that it holds
  // undecided.
  absl::Status Renew(Interrupt* interrupt) { return OpenFresh(interrupt); }
  absl::Status Close(Interrupt* interrupt);
  // Sends the health, if any, and takes the answer.
  absl::Status Heartbeat(const std::optional<Health>& health, Interrupt* interrupt);

  // What answers of data calls say.
  void OnDecided(const v1::PushResponse& response);
  void OnPulled(const PullInfo& info);
  void OnSettings(const v1::Settings& settings);

  uint64_t epoch() const;
  // The server's when the session was joined last.
  uint64_t term() const;
  uint64_t last_sequence() const;
  uint64_t durable_sequence() const;
  Version newest_version() const;
  bool finished() const;
  Settings settings() const;
  // Steps to run before the next push (delta mode); 0: the worker's own choice.
  uint32_t local_steps() const;
  double lease_seconds() const;
  // Whether the server has lost the push, whose number is not above last_sequence: it takes it under this
  // number.
  bool IsMissing(uint64_t sequence) const;
  // Bytes of a push that the server held at the last handshake; 0: none.
  uint64_t BytesHeld(uint64_t sequence, uint32_t part) const;

 private:
  absl::StatusOr<v1::OpenSessionResponse> CallOpen(bool attach, Interrupt* interrupt);
  absl::StatusOr<uint64_t> CurrentTerm(Interrupt* interrupt);
  absl::Status OpenFresh(Interrupt* interrupt);
  absl::Status FencedError() const;
  void Adopt(const v1::OpenSessionResponse& response);
  void Heard(Version version, uint64_t durable_sequence, bool finished) REQUIRES(mu_);

  const Options options_;
  const std::shared_ptr<Transport> control_;
  mutable Mutex mu_;
  uint64_t epoch_ GUARDED_BY(mu_) = 0;
  uint64_t term_ GUARDED_BY(mu_) = 0;  // at the handshake
  uint64_t last_sequence_ GUARDED_BY(mu_) = 0;
  uint64_t durable_sequence_ GUARDED_BY(mu_) = 0;
  double lease_seconds_ GUARDED_BY(mu_) = 0;
  Version newest_version_ GUARDED_BY(mu_);
  bool finished_ GUARDED_BY(mu_) = false;
  Settings settings_ GUARDED_BY(mu_);
  uint32_t local_steps_ GUARDED_BY(mu_) = 0;  // of the newest answer
  std::vector<v1::OpenSessionResponse::Partial> partials_ GUARDED_BY(mu_);
  std::set<uint64_t> missing_ GUARDED_BY(mu_);
};

}  // namespace stepback::client
