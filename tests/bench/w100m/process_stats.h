// Memory and processor time of a running process, from /proc.
#pragma once

#include <sys/types.h>

#include <cstdint>

namespace stepback::bench {

uint64_t PeakRssBytes(pid_t pid);  // VmHWM
double CpuSeconds(pid_t pid);      // user + system

}  // namespace stepback::bench
