// One push on its way in: its parts, who waits for what, and the memory it reserved. Guarded by the intake's
// mutex.
//
//   queued     waits for its reservation; nothing is read yet
//   admitted   its parts arrive; a part is fed by an upload, complete, or parked (its stream died)
//   submitted  whole, handed to the model's strand; waits for the answer
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "server/base/clock.h"
#include "server/engine/engine.h"
#include "server/engine/staged_part.h"

namespace stepback {

inline constexpr size_t kPushesMax = 4096;  // pending in one model

// (client id, sequence): the identity of a push (decisions 1).
using PushKey = std::pair<std::string, uint64_t>;

// Bytes taken from a model's staging budget, given back when the last holder lets go, or earlier with Take.
class Reservation {
 public:
  // `early`: of a push whose turn had not come when it was admitted.
  Reservation(uint64_t bytes, bool early, std::function<void(uint64_t bytes, bool early)> give_back)
      : early_(early), bytes_(bytes), give_back_(std::move(give_back)) {}
  ~Reservation() {
    if (const uint64_t bytes = Take(); bytes > 0) give_back_(bytes, early_);
  }
  Reservation(const Reservation&) = delete;
  Reservation& operator=(const Reservation&) = delete;

  // The caller gives the bytes back itself.
  uint64_t Take() { return bytes_.exchange(0); }
  bool early() const { return early_; }

 private:
  const bool early_;
  std::atomic<uint64_t> bytes_;
  const std::function<void(uint64_t, bool)> give_back_;
};

// A call of StartUpload that has no answer yet.
struct PendingStart {
  uint64_t id = 0;
  uint64_t resume_offset = 0;
  TimePoint deadline;
  Done<UploadStart> done;
};

struct PendingPart {
  std::shared_ptr<const WireLayout> layout;
  std::optional<PendingStart> start;
  std::shared_ptr<StagedPart> bytes;  // once admitted
  uint64_t owner = 0;                 // the upload that feeds it; 0: none
  bool complete = false;
};

struct PendingPush {
  enum class State : uint8_t { kQueued, kAdmitted, kSubmitted };

  PushHeader header;  // of the part that came first; the others announce the same push
  uint32_t part_count = 1;
  uint64_t push_bytes = 0;
  State state = State::kQueued;
  uint64_t arrival = 0;  // order of admission
  TimePoint started;
  TimePoint expires;  // without a sign of life of any part
  std::map<uint32_t, PendingPart> parts;
  std::shared_ptr<Reservation> reservation;
  std::vector<Done<PushAnswer>> waiters;  // of complete parts
  std::vector<PendingStart> repeats;      // uploads of this push that came after it was submitted

  PendingPart* Find(uint32_t part);  // nullptr: not announced
  bool IsComplete() const;
  // Bytes of every part announced so far, without part `without`.
  uint64_t AnnouncedBytes(uint32_t without) const;
  // No stream feeds it or waits for it: its memory may be taken back.
  bool IsParked() const;
};

// What the payload of a submitted push keeps alive until the core lets go of it: the bytes, then their
// reservation.
struct PushHold {
  std::shared_ptr<Reservation> reservation;
  std::vector<std::shared_ptr<StagedPart>> parts;
};

}  // namespace stepback
