// Keeps a session's lease while the trainer computes: a thread of our own, which takes no lock of the
// caller's language.
//
// Threads: Start and Stop from the owner's; ReportHealth from any; the callback runs on the heartbeat's
// thread.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <thread>

#include "client/cpp/interrupt.h"
#include "client/cpp/session.h"
#include "server/base/mutex.h"

namespace stepback::client {

class Heartbeat {
 public:
  // A beat failed; the interrupt ends what the callback does about it when the heartbeat is stopped.
  using OnTrouble = std::function<void(const absl::Status&, Interrupt*)>;

  // `interval` 0: a third of the lease.
  Heartbeat(Session* session, std::chrono::nanoseconds interval, OnTrouble on_trouble);
  ~Heartbeat();

  void Start();
  void Stop();
  void ReportHealth(const Health& health);
  uint64_t beats() const;

 private:
  void Loop();
  std::chrono::nanoseconds Pause() const;

  Session* const session_;
  const std::chrono::nanoseconds interval_;
  const OnTrouble on_trouble_;
  Interrupt interrupt_;
  mutable Mutex mu_;
  std::optional<Health> health_ GUARDED_BY(mu_);
  uint64_t beats_ GUARDED_BY(mu_) = 0;
  std::thread thread_;
};

}  // namespace stepback::client
