// Chooses among the instruction sets that were compiled in, by what this processor has. Any thread.
#pragma once

#include <span>
#include <string_view>

#include "kernels/cpu/loops.h"

namespace stepback::kernels::cpu {

struct Target {
  std::string_view name;  // "avx512", "avx2", "generic"
  const Loops* loops;
};

// Supported here, best first; never empty.
std::span<const Target> Targets();
// nullptr when unknown or not supported here; "" is the best one.
const Target* FindTarget(std::string_view name);
inline const Loops& BestLoops() { return *Targets().front().loops; }

}  // namespace stepback::kernels::cpu
