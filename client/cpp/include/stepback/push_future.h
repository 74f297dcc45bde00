// The answer to a push that was not waited for (Worker::PushAsync): there once the server has decided the
// push.
//
// Copies share one answer. It comes exactly once, also when the worker is closed or cancelled meanwhile.
// Threads: any.
//
//   auto first = worker->PushAsync(gradients.data());
//   ... form the next gradients ...
//   absl::StatusOr<PushResult> result = first->Wait();
#pragma once

#include <chrono>
#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "stepback/results.h"

namespace stepback::client {

class PushState;

class PushFuture {
 public:
  explicit PushFuture(std::shared_ptr<PushState> state);  // workers make futures

  bool done() const;
  // What PushGradient or PushWeights would have returned. `timeout` (0: none) bounds this wait only and ends
  // it with DEADLINE_EXCEEDED, as ConnectOptions::interrupted does with CANCELLED: the push goes on.
  absl::StatusOr<PushResult> Wait(std::chrono::milliseconds timeout = std::chrono::milliseconds(0)) const;
  // Calls `call` once the answer is there, or now when it is: on a thread of the worker, which sends nothing
  // meanwhile, so it should be short, and must not call the worker.
  void OnDone(std::function<void()> call) const;

 private:
  std::shared_ptr<PushState> state_;
};

}  // namespace stepback::client
