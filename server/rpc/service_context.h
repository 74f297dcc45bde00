// What every handler works with. Owner: the server; outlives all calls. Thread: any.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "server/base/clock.h"
#include "server/engine/engine.h"
#include "server/rpc/guard.h"
#include "server/rpc/spec_convert.h"
#include "server/telemetry/metrics.h"

namespace stepback {

struct ServiceContext {
  Engine* engine = nullptr;
  const Guard* guard = nullptr;
  telemetry::Metrics* metrics = nullptr;
  kernels::HostAllocator* allocator = nullptr;  // of payload-sized memory
  SpecDefaults defaults;
  // A waiting call says so at least this often, so that proxies do not cut it.
  Duration waiting_interval = std::chrono::seconds(15);
  // How long a reader that holds up a revoked version may take for what was already sent to it.
  Duration stalled_reader_grace = std::chrono::seconds(5);
  TimePoint started;
  uint32_t compute_threads = 0;
  std::vector<std::string> features;
  // AdminService.Drain: the whole server, health and readiness included.
  std::function<void(std::function<void(absl::Status)>)> drain;
};

}  // namespace stepback
