// A worker process: on command it pushes its gradient or pulls the weights, through the service or through
// the raw socket, between the same memory, and answers with the seconds it took.
#pragma once

#include "tests/bench/w100m/options.h"

namespace stepback::bench {

// Commands: push, pull, socket-push, socket-pull, close.
int RunWorker(const Options& options);

}  // namespace stepback::bench
