// Keeps a call from returning while the transport still refers to the caller's memory. Every payload that
// points into it holds an owner from Share(); the destructor waits until all of them are gone.
//
// Threads: owners are let go on any.
//
//   CallerMemory lent(transport);                        // before the stream, so that it outlives it
//   TensorSource source(..., {.caller_memory = lent.Share()});
#pragma once

#include <chrono>
#include <memory>

#include "client/cpp/transport.h"
#include "server/base/mutex.h"

namespace stepback::client {

class CallerMemory {
 public:
  explicit CallerMemory(Transport* transport);
  // A transport that holds on for long (a peer that reads no more) is reset, which drops what it holds.
  ~CallerMemory();
  CallerMemory(const CallerMemory&) = delete;
  CallerMemory& operator=(const CallerMemory&) = delete;

  std::shared_ptr<const void> Share() const { return share_; }

 private:
  struct State {
    Mutex mu;
    CondVar released_changed;
    bool released GUARDED_BY(mu) = false;
  };
  bool WaitReleased(std::chrono::milliseconds limit);

  Transport* const transport_;
  const std::shared_ptr<State> state_;
  std::shared_ptr<const void> share_;
};

}  // namespace stepback::client
