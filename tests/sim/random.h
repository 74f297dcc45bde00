// The simulation's only source of chance: one seed, one run.
#pragma once

#include <cstdint>
#include <random>

#include "server/base/clock.h"

namespace stepback::sim {

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed * 0x9E3779B97F4A7C15ULL + 1) {}

  // 0 .. count - 1. (Not std::uniform_int_distribution: its values differ between standard libraries.)
  uint64_t Below(uint64_t count) { return engine_() % count; }
  uint64_t Between(uint64_t low, uint64_t high) { return low + Below(high - low + 1); }
  bool Chance(double probability) { return static_cast<double>(engine_() >> 11) * 0x1p-53 < probability; }
  Duration Between(Duration low, Duration high) {
    return Duration(static_cast<int64_t>(
        Between(static_cast<uint64_t>(low.count()), static_cast<uint64_t>(high.count()))));
  }

 private:
  std::mt19937_64 engine_;
};

}  // namespace stepback::sim
