// The other end of the raw sockets: a process with a thread per connection, which takes 'P' and the bytes of
// a push (into one buffer of 1 MiB, never looked at) and answers one byte, or takes 'G' and sends an array as
// a pull.
#pragma once

#include "tests/bench/w100m/options.h"

namespace stepback::bench {

// Prints its port as a line and serves until it is killed.
int RunSocketServer(const Options& options);

}  // namespace stepback::bench
