// One timer of one call, on gRPC's own timers: no thread of ours. Stopping it, or letting it go, drops the
// callback.
//
// Owner: a stream. Thread: used by one at a time; the callback comes on a gRPC thread, once.
//
//   timer_.Start(std::chrono::seconds(15), Event<bool>([this](bool) { SendWaiting(); }));
#pragma once

#include <functional>
#include <memory>

#include <grpcpp/alarm.h>

#include "server/base/clock.h"

namespace stepback {

class CallTimer {
 public:
  // Replaces what was started before. `on_time(true)` runs after `delay`.
  void Start(Duration delay, std::function<void(bool)> on_time) {
    alarm_ = std::make_unique<grpc::Alarm>();
    alarm_->Set(std::chrono::system_clock::now() + delay, [on_time = std::move(on_time)](bool expired) {
      if (expired) on_time(true);
    });
  }
  void Stop() { alarm_.reset(); }

 private:
  std::unique_ptr<grpc::Alarm> alarm_;
};

}  // namespace stepback
