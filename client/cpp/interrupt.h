// Why a wait may end early: Cancel() from another thread, or the caller's own hook (Ctrl-C in an
// interpreter).
//
// Threads: Cancel and cancelled from any; Check and Sleep on the thread that waits, because they call the
// hook.
//
//   Interrupt interrupt(options.interrupted);
//   RETURN_IF_ERROR(interrupt.Sleep(backoff));
#pragma once

#include <chrono>
#include <functional>
#include <utility>

#include "absl/status/status.h"
#include "server/base/mutex.h"

namespace stepback::client {

// How often a waiting call looks at its hook and its limits.
inline constexpr std::chrono::milliseconds kPollInterval{100};

class Interrupt {
 public:
  explicit Interrupt(std::function<bool()> hook = nullptr) : hook_(std::move(hook)) {}

  void Cancel();  // for good
  bool cancelled() const;
  // OK or CANCELLED.
  absl::Status Check() const;
  // OK after `duration`; CANCELLED as soon as interrupted.
  absl::Status Sleep(std::chrono::nanoseconds duration);

 private:
  const std::function<bool()> hook_;
  mutable Mutex mu_;
  CondVar cancelled_changed_;
  bool cancelled_ GUARDED_BY(mu_) = false;
};

}  // namespace stepback::client
