// A complete, verified push and the answer to it, as the core sees them: plain values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "server/base/payload.h"
#include "server/core/spec.h"
#include "server/core/version.h"

namespace stepback {

// The worker's own numbers; shown, never decided upon.
struct WorkerHealth {
  std::optional<double> train_loss, tokens, tokens_per_second, gradient_norm, inner_learning_rate, compute_seconds,
      wait_seconds;
};

struct PushHeader {
  std::string client_id;
  uint64_t epoch = 0;
  uint64_t sequence = 0;
  PushKind kind = PushKind::kDelta;
  Version base;
  uint64_t samples = 1;
  uint64_t local_steps = 1;
  double loss_scale = 1;
  int codec = 0;                   // id in kernels::Codecs()
  std::vector<uint8_t> present;    // empty: all, of the fragment if it has one
  std::optional<uint32_t> fragment;
  uint64_t fragment_step = 0;      // the fragment's outer steps at `base`

  // Of the rounds of a model, which one this push is for.
  uint32_t round() const { return fragment.value_or(0); }
};

struct Push {
  PushHeader header;
  Payload payload;       // all parts in wire order, every CRC verified
  bool finite = true;    // result of the scan of the encoded payload
  uint64_t log_position = 0;   // where the model's log has it (durability PUSH); given out in OpenState, else unused
};

enum class PushOutcome : uint8_t { kApplied = 1, kBuffered, kDuplicate, kSkipped };   // = proto numbers

struct PushAnswer {
  PushOutcome outcome = PushOutcome::kApplied;
  PushOutcome first_outcome = PushOutcome::kApplied;   // when duplicate
  Version version;              // applied: contains the push; else the version at the decision
  uint64_t sequence = 0;
  uint64_t durable_sequence = 0;
  std::string reason;           // in words
  uint64_t staleness = 0;
  uint64_t settings_version = 0;
  uint64_t inner_steps = 0, outer_steps = 0, samples = 0;
  bool finished = false;
  double loss_scale = 0;
  uint32_t round = 0;           // PushHeader::round() of the push; not sent
  uint32_t local_steps = 0;     // H for the worker's next push as of `version`; 0: its own choice, or gradient mode
  // A *decided* refusal (stale, non-finite) consumes its sequence number and is remembered too.
  absl::Status refusal;
  // Rounds of the model that came to nothing before this decision, counted by the engine; not sent. A wait for the version
  // that shall contain a BUFFERED push takes it (Handle::WaitNewer).
  uint64_t rounds_dropped = 0;
  bool decided = true;          // false: refused without consuming its number (malformed, fenced, gap, resync)
};

}  // namespace stepback
