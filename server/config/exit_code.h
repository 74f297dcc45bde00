// What stepbackd's exit status means (docs/configuration.md). A forced end after the drain timeout looks like
// SIGTERM.
#pragma once

namespace stepback {

enum ExitCode : int {
  kExitOk = 0,
  kExitRuntime = 1,         // something failed while running
  kExitUsage = 2,           // flags, environment or file are wrong; nothing was started
  kExitBind = 3,            // an address is taken or not ours
  kExitCorruptState = 4,    // the data directory is damaged; nothing in it was changed
  kExitDrainTimeout = 143,  // SIGTERM, and work was still open after the drain timeout
};

}  // namespace stepback
