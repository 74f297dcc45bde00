// Runs a load: a temporary model, workers in threads, one operation again and again, everything deleted at
// the end.
//
// Closed loop: each worker begins the next request when the last has ended. Open loop (rate > 0): requests
// have a schedule that does not wait for the server, and latency counts from the scheduled time, so that a
// slow server cannot hide its queue.
#pragma once

#include "absl/status/statusor.h"
#include "client/cli/load/load_options.h"
#include "client/cli/load/load_result.h"
#include "stepback/client.h"

namespace stepback::cli {

absl::StatusOr<LoadResult> RunLoad(client::Server* server, const LoadOptions& options);

}  // namespace stepback::cli
