// What pushes, pulls and steps answer.
#pragma once

#include <cstdint>
#include <string>

#include "stepback/version.h"

namespace stepback::client {

enum class Outcome : uint8_t {
  kApplied = 1,  // in `version`
  kBuffered,     // in the open round, which will become a later version
  kSkipped,      // non-finite under loss scaling: consumed, counted, without effect
  // Not merged, for a reason that the worker cannot mend: base too old, round dropped, rolled back. Step has
  // already put the newest weights into the sinks; after a push, pull. Training goes on from there.
  kResynced,
};
std::string NameOf(Outcome outcome);

struct PushResult {
  Outcome outcome = Outcome::kApplied;
  bool duplicate = false;  // the server had decided it before; the fields are the first answer's
  Version version;         // kApplied: contains the push; else the version at the decision
  uint64_t sequence = 0;
  uint64_t durable_sequence = 0;
  std::string
      reason;  // in words ("1 of 2 workers"); kResynced: the server's reason ("STALE_BASE: base version ...")
  uint64_t staleness = 0;
  uint64_t settings_version = 0;
  uint64_t inner_steps = 0;
  uint64_t outer_steps = 0;
  uint64_t samples = 0;
  bool finished = false;
  double loss_scale = 0;     // to use next; 0: unchanged
  uint32_t local_steps = 0;  // to run before the next push (H, delta mode); 0: this worker's own choice
};

struct PullInfo {
  Version version;
  bool modified = true;  // false: not newer than `since`, nothing was written
  bool durable = false;  // this version is on disk
  uint64_t settings_version = 0;
  uint64_t inner_steps = 0;
  uint64_t outer_steps = 0;
  uint64_t samples = 0;
  bool finished = false;
  uint64_t payload_bytes = 0;
  std::string difference;  // the form of the differences that came; empty: the weights came in full
};

struct StepResult {
  Outcome outcome = Outcome::kApplied;  // kApplied, kSkipped or kResynced
  PushResult push;
  PullInfo pull;            // the weights now in the sinks
  double wait_seconds = 0;  // from the end of the upload to the first byte of the answer
};

// Counters of one worker since it joined.
struct Statistics {
  uint64_t pushes = 0;  // decided, steps included
  uint64_t pulls = 0;   // complete, steps included
  uint64_t difference_pulls = 0;  // of those, the ones that came as differences
  uint64_t steps = 0;
  uint64_t duplicates = 0;
  uint64_t resyncs = 0;
  uint64_t reconnects = 0;
  uint64_t replays = 0;  // pushes sent again after the server lost them
  uint64_t lost = 0;     // pushes that were acknowledged and could not be brought back
  uint64_t flushes = 0;  // snapshots that a push waited for, and the one of leaving
  uint64_t heartbeats = 0;
  uint64_t payload_bytes_sent = 0;  // tensor bytes, resends included
  uint64_t payload_bytes_received = 0;
  uint64_t wire_bytes_sent = 0;  // messages with their gRPC framing, without HTTP/2 and TCP headers
  uint64_t wire_bytes_received = 0;
  uint64_t replay_bytes = 0;  // held now
};

}  // namespace stepback::client
