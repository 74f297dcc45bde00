// What the copies of a PushFuture share with the window that answers it.
//
// Threads: any. Callbacks run without a lock, on the thread that settles.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "client/cpp/interrupt.h"
#include "server/base/mutex.h"
#include "stepback/results.h"

namespace stepback::client {

class PushState {
 public:
  explicit PushState(std::function<bool()> interrupted) : interrupted_(std::move(interrupted)) {}

  bool done() const;
  absl::StatusOr<PushResult> Wait(std::chrono::nanoseconds timeout);
  void OnDone(std::function<void()> call);

  // The answer; the first one stays. What is returned is to be called, once no lock is held.
  std::vector<std::function<void()>> Settle(absl::StatusOr<PushResult> result);

 private:
  const std::function<bool()> interrupted_;
  mutable Mutex mu_;
  CondVar settled_;
  std::optional<absl::StatusOr<PushResult>> result_ GUARDED_BY(mu_);
  std::vector<std::function<void()>> calls_ GUARDED_BY(mu_);
};

}  // namespace stepback::client
