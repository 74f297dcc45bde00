#include "kernels/cpu/dispatch.h"

#include <array>

namespace stepback::kernels::cpu {
namespace {

struct Supported {
  std::array<Target, 3> targets;
  size_t count = 0;
  void Add(std::string_view name, const Loops& loops) { targets[count++] = {name, &loops}; }
};

Supported Detect() {
  Supported found;
#if defined(__x86_64__)
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  if (avx2 && avx512) found.Add("avx512", kLoopsAvx512);
  if (avx2) found.Add("avx2", kLoopsAvx2);
#endif
  found.Add("generic", kLoopsGeneric);
  return found;
}

}  // namespace

std::span<const Target> Targets() {
  static const Supported kSupported = Detect();
  return {kSupported.targets.data(), kSupported.count};
}

const Target* FindTarget(std::string_view name) {
  if (name.empty()) return &Targets().front();
  for (const Target& target : Targets()) {
    if (target.name == name) return &target;
  }
  return nullptr;
}

}  // namespace stepback::kernels::cpu
