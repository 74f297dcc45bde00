// Ctrl-C and SIGTERM as a flag, so that commands end in order (the load tool deletes its model).
#pragma once

namespace stepback::cli {

// Installs the handlers; a second signal ends the process at once.
void CatchSignals();
bool Interrupted();

}  // namespace stepback::cli
