// Knocks on a listening port for as long as it lives. civetweb notices a stop only when its poll returns,
// which without a connection takes two seconds; a server that is told to end should not make people wait for
// that. Owns one thread, joined by the destructor.
#pragma once

#include <atomic>
#include <thread>

#include "server/http/bound_address.h"

namespace stepback {

class ListenerNudge {
 public:
  // `address` is where the listener is bound; a wildcard address reaches this machine.
  explicit ListenerNudge(const BoundAddress& address);
  ~ListenerNudge();

 private:
  std::atomic<bool> done_{false};
  std::thread thread_;
};

}  // namespace stepback
