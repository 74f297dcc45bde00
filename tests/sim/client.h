// A worker as a client of the protocol: it opens sessions, pushes in order with some pushes in flight, pulls,
// flushes, sends heartbeats, and after any trouble opens its session again and brings back what the server
// has lost.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tests/sim/context.h"

namespace stepback::sim {

class Client {
 public:
  Client(Context* context, size_t index);

  void Start() { Plan(Duration::zero()); }
  // A new process with what the old one had written down; the old one goes on pushing for a while.
  void Restart();
  // All its pushes are decided and as durable as they can be without pushes of others.
  bool finished() const;
  // No new pushes: what was begun is brought to its end. Until then it goes on, so that nobody waits for a
  // round alone.
  void FinishUp() { finishing_ = true; }
  size_t pushes() const { return pushes_.size(); }
  // Pushes that it knows to be in, or on their way in, by number from 1.
  std::vector<bool> accepted_pushes() const;
  // For reports.
  std::string ToString() const;

 private:
  struct Push {
    Version base;
    bool in_flight = false;
    bool decided = false;
    bool accepted = false;
  };
  enum class Session { kOut, kOpening, kIn, kDone };

  void Plan(Duration delay);  // to act after it
  void Act();
  void Open();
  void OnOpened(const SessionOpened& opened);
  void Leave();
  void Beat();
  void Pull();
  void Flush();
  void Close();
  bool SendNext();
  void Send(uint64_t sequence);
  void OnDecided(uint64_t sequence, const absl::StatusOr<PushAnswer>& answer);
  void OnTrouble(uint64_t sequence, const absl::Status& status);
  void HauntAsOldProcess(uint64_t epoch, uint64_t sequence);
  void See(const Version& version, const Version& floor);
  size_t in_flight() const;
  size_t accepted() const;
  bool all_decided() const;
  bool may_leave() const;
  void NoteDurable(uint64_t sequence);

  // Passes on the first answer only, and only in this session; UNAVAILABLE when none comes in time.
  template <typename T>
  Done<T> Once(Duration timeout, std::function<void(const absl::StatusOr<T>&)> then);
  // A call of any kind: `issue` at the server, `then` here with the answer, or with UNAVAILABLE when none
  // comes in time.
  template <typename T>
  void Call(std::function<void(Handle*, Done<T>)> issue, std::function<void(const absl::StatusOr<T>&)> then);

  Context* const context_;
  const size_t index_;
  const size_t window_;
  Session session_ = Session::kOut;
  uint64_t life_ = 0;  // rises whenever the session ends: answers to older calls are of no use
  uint64_t epoch_ = 0;
  std::vector<Push> pushes_;  // by sequence number - 1
  std::vector<SessionOpened::Partial> partials_;
  uint64_t durable_ = 0;  // as the server says
  Version base_;          // of the last pull in this session; term 0: none
  Version seen_;
  bool finishing_ = false;
  std::string trouble_;  // the last refusal of a push
};

}  // namespace stepback::sim
