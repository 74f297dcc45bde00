// The session and round rules of a model once more, as plainly as they can be said: no counts are kept,
// everything is found by looking at all clients. The oracle of core_session_walk_test.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "server/core/push.h"
#include "server/core/spec.h"

namespace stepback::core_test {

class SessionMachine {
 public:
  struct Arrival {
    std::string client;
    uint64_t epoch = 0, sequence = 0;
    Version base;
    bool finite = true;
    double loss_scale = 1;
    bool right_kind = true;
    int64_t arrived = 0;  // seconds
  };

  SessionMachine(const RoundSpec& rounds, int64_t lease, const QuarantineSpec& quarantine)
      : rounds_(rounds), lease_(lease), quarantine_(quarantine) {}

  // Every call returns what it answered, in order: "client:sequence WORD", WORD an outcome or a reason.
  std::vector<std::string> Apply(const Arrival& push, int64_t now);
  std::vector<std::string> Tick(int64_t now);
  // nullopt: refused; `reason` says why.
  std::optional<uint64_t> Open(const std::string& client, bool reader, bool attach, int64_t now,
                               std::string* reason);
  std::string Heartbeat(const std::string& client, uint64_t epoch, int64_t now) {
    return Touch(client, epoch, now);
  }
  std::string Close(const std::string& client, uint64_t epoch, int64_t now,
                    std::vector<std::string>* answers);
  std::string Evict(const std::string& client, int64_t now, std::vector<std::string>* answers);

  uint64_t counter() const { return counter_; }
  uint64_t folded() const { return folded_; }
  uint32_t live_trainers() const;
  std::vector<std::string> waiting_for() const;
  uint64_t last_sequence(const std::string& client) const;

 private:
  struct Client {
    uint64_t epoch = 0, last = 0;
    bool live = false, reader = false, excused = false;
    std::string ended = "NO_SESSION";
    int64_t lease_end = 0;
    std::optional<int64_t> base_wait;  // for a lost version, since then; it outlives sessions
    uint32_t nonfinite = 0;  // refused since the last finite push; it outlives sessions
    std::optional<int64_t> quarantined_since;
    std::map<uint64_t, Arrival> held;
    std::map<uint64_t, std::string> decided;  // all of them
  };

  std::string Touch(const std::string& client, uint64_t epoch, int64_t now);
  void Say(const Arrival& push, const std::string& word, std::vector<std::string>* answers) const;
  void Decide(Client* client, const Arrival& push, const std::string& word,
              std::vector<std::string>* answers);
  void End(const std::string& id, const std::string& reason, std::vector<std::string>* answers);
  // Throws the client out when it has sent too much that is not finite.
  void CountNonfinite(const std::string& id, int64_t now, std::vector<std::string>* answers);
  void Settle(int64_t now, std::vector<std::string>* answers);
  void DecideHeads(const std::string& id, int64_t now, std::vector<std::string>* answers);
  bool Complete(int64_t now) const;
  void EndRound(bool commit);
  bool Contributed(const std::string& id) const { return round_.contains(id); }

  const RoundSpec rounds_;
  const int64_t lease_;
  const QuarantineSpec quarantine_;
  uint64_t counter_ = 0;
  uint64_t folded_ = 0;  // contributions in commits
  std::map<std::string, Client> clients_;
  std::map<std::string, int> round_;  // client -> pushes in the open round
  uint64_t in_round_ = 0, effective_ = 0;
  int64_t first_at_ = 0;
  std::set<std::string> ready_;
  std::vector<std::string> outbox_;
};

}  // namespace stepback::core_test
