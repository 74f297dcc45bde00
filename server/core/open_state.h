// Everything that decides a model's later calls beside its current version: sessions, open rounds, pushes that
// wait for their turn, the client log as of now. Model::open_state gives it out and Model::FromImage takes it
// back; what a log keeps to continue after a crash as if there had been none (durability PUSH, decision record
// 107). A plain value without payloads: pushes are named, and found in the log.
//
// Not in it: the workers' health (shown, never decided upon), and answers to pushes that an Open refused in
// this very moment (their numbers are free, and who sent them has a new session).
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "server/base/clock.h"
#include "server/core/client_table.h"
#include "server/core/local_steps.h"
#include "server/core/round.h"
#include "server/core/session_table.h"
#include "server/core/weight_history.h"

namespace stepback {

// A push by name. A number that was refused undecided comes again, perhaps with other bytes, so the name alone
// is not unique in a log; `log_position` is what Push::log_position said.
struct PushRef {
  std::string client_id;
  uint64_t epoch = 0;
  uint64_t sequence = 0;
  uint64_t log_position = 0;
  friend bool operator==(const PushRef&, const PushRef&) = default;
};

struct OpenState {
  // Waits for its turn: its predecessor, its round or its base is not there yet.
  struct Held {
    PushRef push;
    TimePoint arrived;
    friend bool operator==(const Held&, const Held&) = default;
  };
  struct Client {
    uint64_t epoch = 0;
    SessionRole role = SessionRole::kTrainer;
    SessionEnd end = SessionEnd::kLive;  // ended ones tell a late caller what happened
    TimePoint lease_end;
    std::set<uint32_t> contributed;      // to these open rounds (by fragment; 0 without)
    std::optional<uint32_t> excused;     // from this round: its push waits for versions that others make
    std::optional<TimePoint> base_wait;  // since then for versions that a recovery lost
    NonfiniteRun nonfinite;              // pushes in a row
    std::optional<TimePoint> quarantined_since;
    uint64_t staleness = 0;              // of its last push
    WorkerPace pace;
    std::vector<Held> held;              // ascending sequence
    friend bool operator==(const Client&, const Client&) = default;
  };
  // In an open round, with the weight that it was given: the settings may have changed since.
  struct Member {
    PushRef push;
    PushWeight weight;
    uint64_t staleness = 0;
    uint64_t samples = 0;
    uint64_t local_steps = 0;
    bool scaled = false;   // its loss scale is not 1
    bool skipped = false;  // overflowed: counts as present, with weight 0; its payload is not needed
    int codec = 0;
    TimePoint arrived;
    friend bool operator==(const Member&, const Member&) = default;
  };
  struct OpenRound {
    std::vector<Member> members;   // in order of arrival
    std::vector<Duration> spreads;  // of the rounds before, oldest first: what the grace window has learnt
    std::optional<TimePoint> retry_at;  // a close that found no memory
    friend bool operator==(const OpenRound&, const OpenRound&) = default;
  };
  std::map<std::string, Client> sessions;  // by client id
  std::vector<OpenRound> rounds;           // one, or one per fragment
  std::shared_ptr<const ClientTable> clients;  // as of now: the version's lacks what open rounds hold
  uint64_t oldest_base = 0;                // counter of the last import or restore
  double loss_scale = 0;                   // the scaler's suggestion
  uint32_t clean_commits = 0;              // since its last change
  bool reevaluate = false;                 // rounds may close in the next call that decides
  TimePoint last_now;                      // latest time of a call that decided
  // Of past versions, for delay compensation only (RoundSpec.history_versions): arrays shared with the model,
  // ascending counters without gaps up to the one before the version.
  std::vector<PastWeights> history;
};

// All times moved by `by`: a log's clock stands still while no server runs, and starts elsewhere after.
void ShiftTimes(Duration by, OpenState* state);

}  // namespace stepback
