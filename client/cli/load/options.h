// What `stepback load` was asked to do.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace stepback::cli::load {

enum class Action { kPush, kPull, kStep };

struct Options {
  Action action = Action::kStep;
  int concurrency = 1;            // workers, each a thread with its own connection; 1..256
  double warmup_seconds = 1;      // not measured
  double duration_seconds = 10;   // measured; at most 3600
  uint64_t parameters = 1000000;  // of the temporary model
  int tensors = 8;
  std::string codec = "f32";  // both directions
  std::string mode;           // push, step: "gradient" or "delta"; push defaults to gradient, step to delta
  double rate = 0;            // requests per second of all workers, open loop; 0: closed loop
  std::vector<std::string> assertions;
};

const char* NameOf(Action action);

}  // namespace stepback::cli::load
