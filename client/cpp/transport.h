// The seam between the SDK's logic and gRPC: one call is a stream of byte messages each way. The logic above
// it is tested (and run under the thread sanitizer) with an in-process transport; grpc/ holds the real one.
//
// Threads: a Transport from any; a Stream from one. Next blocks; it ends early as Interrupt and CallLimits
// say.
//
//   auto stream = transport->Open("/stepback.v1.TrainingService/Push", limits, &interrupt);
//   stream->Write(std::move(header));
//   while (true) { Event event = stream->Next(); ... }
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "client/cpp/interrupt.h"
#include "server/base/payload.h"

namespace stepback::client {

struct CallLimits {
  std::chrono::nanoseconds timeout{0};  // of the whole call; 0: none
  std::chrono::nanoseconds idle{0};     // without any event: the call ends with UNAVAILABLE; 0: none
};

// On the wire: `head`, then the payload. The payload's owners are let go when the transport needs its bytes
// no more.
struct OutMessage {
  std::string head;
  Payload payload;

  uint64_t size() const { return head.size() + payload.size(); }
};

struct Event {
  enum class Kind {
    kWritten,  // the last Write was taken: the next may follow
    kMessage,
    kEnd,  // the call is over; nothing comes after it
  };
  Kind kind = Kind::kEnd;
  Payload message;
  absl::Status status;  // kEnd
};

class Stream {
 public:
  // Cancels the call if it is not over. The transport may still hold payloads for a moment.
  virtual ~Stream() = default;
  // One at a time: wait for kWritten before the next. `last`: nothing follows.
  virtual void Write(OutMessage message, bool last) = 0;
  virtual void HalfClose() = 0;
  virtual Event Next() = 0;
  // Long answers to a finished upload may come without any sign of life in between.
  virtual void SetIdleLimit(std::chrono::nanoseconds idle) = 0;
};

class Transport {
 public:
  virtual ~Transport() = default;
  virtual std::unique_ptr<Stream> Open(const std::string& method, const CallLimits& limits,
                                       Interrupt* interrupt) = 0;
  // Drops the connection, so that whatever it still holds is let go; the next Open makes a new one.
  virtual void Reset() = 0;
};

}  // namespace stepback::client
