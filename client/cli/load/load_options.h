// What a load run does: checked numbers.
#pragma once

#include <cstdint>
#include <string>

#include "stepback/definition.h"

namespace stepback::cli {

enum class Operation { kPush, kPull, kStep };

struct LoadOptions {
  Operation operation = Operation::kPush;
  uint32_t concurrency = 1;  // workers, each a session with a connection of its own
  double duration_seconds = 10;
  double warmup_seconds = 2;  // not counted
  double rate = 0;            // requests per second of all workers; 0: closed loop
  uint64_t parameters = 1'000'000;
  uint32_t tensors = 16;
  std::string codec = "f32";  // of pushes, and of pulls unless pull_codec says otherwise
  std::string pull_codec;
  std::string difference;  // of pulls; empty: in full
  bool error_feedback = false;
  client::Mode mode = client::Mode::kDelta;
  client::RoundPolicy policy = client::RoundPolicy::kAsync;
  client::Durability durability = client::Durability::kVolatile;
};

inline const char* NameOf(Operation operation) {
  switch (operation) {
    case Operation::kPush:
      return "push";
    case Operation::kPull:
      return "pull";
    case Operation::kStep:
      return "step";
  }
  return "";
}

}  // namespace stepback::cli
