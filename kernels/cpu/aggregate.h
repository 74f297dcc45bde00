// Aggregation of staged contributions on the host, for every back-end: they lie in host memory anyway, and
// what goes to a device is the result alone.
#pragma once

#include "kernels/backend.h"
#include "kernels/cpu/loops.h"

namespace stepback::kernels::cpu {

// Backend::Aggregate with the loops of one instruction set.
Status AggregateStaged(const Loops& loops, Backend* backend, const AggregatePlan& plan, Buffer* out,
                       Executor* executor);

}  // namespace stepback::kernels::cpu
