// The status page: one HTML file that fetches /api/v1/status every two seconds and writes what it gets as
// text (names come from users; nothing is ever inserted as markup). Fields it shows, each optional:
//
//   {"version": "0.1.0", "revision": "1a2b3c4", "uptime_seconds": 12.5, "ready": true, "draining": false,
//    "grpc_address": "127.0.0.1:7400", "devices": ["cpu/avx2"],
//    "models": [{"name": "lm", "mode": "delta", "inner": "none", "outer": "nesterov", "version": "1.42",
//                "parameters": 1000, "steps": 20, "alpha": 0.5, "sessions": 2, "waiting_for": "1 of 2
//                workers", "seconds_since_commit": 0.5, "seconds_since_snapshot": 12.0, "state_bytes": 16000,
//                "healthy": true, "reason": ""}],
//    "sessions": [{"model": "lm", "client_id": "worker-0", "state": "active", "staleness": 0, "pushes": 7,
//                  "lease_remaining_seconds": 41.0, "train_loss": 0.3}]}
#pragma once

#include <string_view>

namespace stepback {

std::string_view StatusPageHtml();

}  // namespace stepback
