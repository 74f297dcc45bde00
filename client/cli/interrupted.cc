#include "client/cli/interrupted.h"

#include <csignal>
#include <initializer_list>

namespace stepback::cli {
namespace {

volatile std::sig_atomic_t g_interrupted = 0;

void OnSignal(int signal) {
  g_interrupted = 1;
  std::signal(signal, SIG_DFL);
}

}  // namespace

void CatchSignals() {
  for (const int signal : {SIGINT, SIGTERM}) std::signal(signal, OnSignal);
  std::signal(SIGPIPE, SIG_DFL);
}

bool Interrupted() { return g_interrupted != 0; }

}  // namespace stepback::cli
