// The decision about one push whose turn it may be: take it, repeat its first answer, let it wait, or refuse
// it with a reason. Pure: everything it needs comes in, nothing changes.
//
//   const Admission admission = Admit(push.header, push.finite, state);
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "server/core/push.h"
#include "server/core/spec.h"
#include "server/core/version.h"

namespace stepback {

inline constexpr uint64_t kPushesAhead = 5;  // of one client, waiting for their predecessor

enum class Verdict : uint8_t {
  kAccept,     // joins the round
  kSkip,       // consumed without effect: overflow under loss scaling
  kDuplicate,  // decided before
  kWait,       // decided later: its predecessor, its round or its base is not there yet
  kReject,     // refused, and that is its answer for good: consumes the number
  kRefuse,     // refused, nothing is remembered: the number is free
};

struct Admission {
  Verdict verdict = Verdict::kAccept;
  absl::Status status;      // kReject, kRefuse
  std::string reason;       // kWait, kSkip: in words
  uint64_t staleness = 0;   // kAccept, kReject
  bool base_ahead = false;  // kWait: for versions that a recovery lost and replays bring back (decisions 8)
};

struct AdmitState {
  std::string model_name;
  Version current;
  uint64_t oldest_base = 0;  // counter of the last import or restore: older bases are other weights
  uint64_t max_staleness = 0;
  // Delay compensation: the oldest counter whose weights are kept (weight_history.h); 0: none need be.
  uint64_t oldest_kept = 0;
  uint64_t last_sequence = 0;  // of the client
  bool missing = false;        // up to last_sequence, but a recovery has lost it: it is its turn
  // Of the push's fragment, now; staleness is counted in them. Unset: the model has none.
  std::optional<uint64_t> fragment_step;
  bool contributed = false;      // a SYNC round is open and holds a push of the client
  bool waited_for_base = false;  // as long as a client may have to come back
};

Admission Admit(const PushHeader& header, bool finite, const AdmitState& state);

// RoundSpec.max_staleness with its default: SYNC 1, else 4 x live workers.
uint64_t MaxStaleness(const RoundSpec& rounds, uint32_t live_trainers);

}  // namespace stepback
